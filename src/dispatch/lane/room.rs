//! A lane's turn at a destination that has no room.
//!
//! ```text
//! free ── no room ─> waits, behind other lanes ─> its turn ─> an attempt with what it waited for
//!   ^                                                             │
//!   └──── left: nothing to send, or something else to wait for <──┘ the next asks before it starts
//! ```
//!
//! The lane waits and not its attempts: they hold no place of other webhooks meanwhile, and
//! what was not tried is still ready. A lane that has once found no room asks before each
//! attempt, and does not start as many as it may to have all but one come back.

use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::outbound::{Limit, NoRoom, Permit};

/// A webhook that has to wait for so long is slowed down.
pub(super) const SLOW: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Default)]
pub(super) struct Room {
    turn: Turn,
    lacking: Option<Lacking>,
}

/// What there was no room for last, and since when the lane has not sent all that it could.
struct Lacking {
    what: NoRoom,
    since: Instant,
}

#[derive(Default)]
enum Turn {
    #[default]
    Free,
    Waits(BoxFuture<'static, Permit>),
    Come(Permit),
}

/// Whether an attempt may start.
pub(super) enum Asked {
    /// With this, if it had to be asked for.
    Granted(Option<Permit>),
    /// Not before the lane's turn.
    Waits(Limit),
}

impl Room {
    /// There is none for now.
    pub(super) fn wait_for(&mut self, what: NoRoom, now: Instant) {
        // Whoever waits already keeps its place in the row.
        if !matches!(self.turn, Turn::Waits(_)) {
            self.turn = Turn::Waits(what.clone().wait().boxed());
        }
        let since = self.lacking.as_ref().map_or(now, |lacking| lacking.since);
        self.lacking = Some(Lacking { what, since });
    }

    pub(super) fn ask(&mut self, now: Instant) -> Asked {
        let Some(lacking) = &self.lacking else { return Asked::Granted(None) };
        let limit = lacking.what.limit();
        match std::mem::take(&mut self.turn) {
            Turn::Come(permit) => Asked::Granted(Some(permit)),
            Turn::Free => match lacking.what.try_again() {
                Ok(permit) => Asked::Granted(Some(permit)),
                Err(no_room) => {
                    self.wait_for(no_room, now);
                    Asked::Waits(limit)
                }
            },
            waits @ Turn::Waits(_) => {
                self.turn = waits;
                Asked::Waits(limit)
            }
        }
    }

    /// The lane does not want any.
    pub(super) fn leave(&mut self) {
        *self = Self::default();
    }

    /// Until the lane's turn has come; for ever if it does not wait.
    pub(super) async fn comes(&mut self) {
        match &mut self.turn {
            Turn::Waits(permit) => {
                let permit = permit.await;
                self.turn = Turn::Come(permit);
            }
            Turn::Free | Turn::Come(_) => std::future::pending().await,
        }
    }

    /// What slows the webhook down.
    pub(super) fn slowed_by(&self, now: Instant) -> Option<Limit> {
        let Lacking { what, since } = self.lacking.as_ref()?;
        (now.saturating_duration_since(*since) >= SLOW).then(|| what.limit())
    }
}
