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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::{Channel, Outbound, OutboundConfig, Pass, PerDestination, TlsSettings};

    /// To a host that takes one request at a time. Nothing is sent.
    fn narrow() -> Channel {
        let per_destination = PerDestination { in_flight: 1, ..PerDestination::NONE };
        let outbound =
            Outbound::new(OutboundConfig { per_destination, ..OutboundConfig::default() }).unwrap();
        let uri = "https://hooks.example.com/".parse().unwrap();
        outbound.channel("team", &uri, &TlsSettings::default()).unwrap()
    }

    fn granted(asked: Asked) -> Option<Permit> {
        match asked {
            Asked::Granted(permit) => permit,
            Asked::Waits(limit) => panic!("waits for {limit}"),
        }
    }

    /// Somebody's pass, and a room that waits behind it.
    fn full(channel: &Channel, now: Instant) -> (Pass, Room) {
        let pass = channel.admit(None).unwrap();
        let mut room = Room::default();
        room.wait_for(channel.admit(None).unwrap_err(), now);
        (pass, room)
    }

    #[tokio::test]
    async fn a_lane_that_lacks_nothing_asks_nobody_and_waits_for_nothing() {
        let (channel, now) = (narrow(), Instant::now());
        let _pass = channel.admit(None).unwrap();
        let mut room = Room::default();
        assert!(granted(room.ask(now)).is_none());
        assert_eq!(room.slowed_by(now + 10 * SLOW), None);
        assert!(room.comes().now_or_never().is_none());
    }

    #[tokio::test]
    async fn its_turn_comes_with_what_it_waited_for() {
        let (channel, now) = (narrow(), Instant::now());
        let (pass, mut room) = full(&channel, now);
        assert!(matches!(room.ask(now), Asked::Waits(Limit::InFlight)));
        assert!(room.comes().now_or_never().is_none());
        drop(pass);
        room.comes().now_or_never().expect("its turn");
        assert!(channel.admit(None).is_err(), "the room has it");
        let pass = channel.admit(granted(room.ask(now)));
        assert!(pass.is_ok());
        // It asks before the next one too, and finds none.
        assert!(matches!(room.ask(now), Asked::Waits(Limit::InFlight)));
    }

    #[tokio::test]
    async fn who_finds_no_room_again_keeps_its_place_in_the_row() {
        let (channel, now) = (narrow(), Instant::now());
        let (pass, mut room) = full(&channel, now);
        assert!(room.comes().now_or_never().is_none());
        let mut later = Room::default();
        later.wait_for(channel.admit(None).unwrap_err(), now);
        assert!(later.comes().now_or_never().is_none());
        room.wait_for(channel.admit(None).unwrap_err(), now);
        drop(pass);
        assert!(later.comes().now_or_never().is_none());
        room.comes().now_or_never().expect("the first in the row");
    }

    #[tokio::test]
    async fn who_leaves_gives_its_turn_to_others() {
        let (channel, now) = (narrow(), Instant::now());
        let (pass, mut room) = full(&channel, now);
        drop(pass);
        room.comes().now_or_never().expect("its turn");
        room.leave();
        assert!(channel.admit(None).is_ok());
        assert!(granted(room.ask(now)).is_none());
    }

    #[tokio::test]
    async fn what_lacks_room_for_a_second_is_slowed_down_until_it_leaves() {
        let (channel, now) = (narrow(), Instant::now());
        let (_pass, mut room) = full(&channel, now);
        assert_eq!(room.slowed_by(now + SLOW / 2), None);
        room.wait_for(channel.admit(None).unwrap_err(), now + SLOW / 2);
        assert_eq!(room.slowed_by(now + SLOW), Some(Limit::InFlight));
        room.leave();
        assert_eq!(room.slowed_by(now + SLOW), None);
    }
}
