//! Which partitions this dispatcher runs, and for how long.
//!
//! ```text
//! every RENEW   "I am alive" ──stored──> the lease is good for LEASE from when it was sent
//! every LOOK    who is alive, who runs what ──> plan ──> claim | give back
//! claim         "mine", if nobody has written so since ──stored, and read──> its lanes may be run
//! ```
//!
//! **Guarantees.** At most one dispatcher may write what came of a partition's
//! deliveries: each such write names the message that made it the owner, and
//! the server refuses it once there is another. A dispatcher acts for its
//! partitions only while its lease is good by its own clock that only counts
//! on; another takes them over only when, by its own such clock, the lease has
//! been silent for all of [`LEASE`]. So none has to trust the other's time.
//!
//! Attempts that run when the lease ends are broken off in lanes with per-user
//! order, and their successor waits a little longer; in others they run on while
//! the successor begins, which may repeat.
//!
//! Whoever gets no answers may still be heard, and whoever hears nobody has
//! cause to doubt itself first: renewals of a lease that has ended count for
//! nothing, and nobody is taken for dead within a lease of one's own trouble.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::{Core, LEASE, Partition};
use super::plan::{View, plan};
use super::publish::{EXPECTED, Outgoing, PublishError, publish, publish_within};
use super::snapshot::POSITION;
use super::tail;
use async_nats::HeaderMap;
use async_nats::connection::State;
use bytes::Bytes;

/// How often a dispatcher says that it is alive.
const RENEW: Duration = Duration::from_secs(2);

/// After so long without a stored renewal another server is connected to: the one at the other end
/// may be cut off from the rest, or its disk hang.
const ELSEWHERE: Duration = Duration::from_secs(6);

/// How long a renewal may wait for its answer.
const ANSWER: Duration = Duration::from_secs(3);

/// How often it looks who runs what.
const LOOK: Duration = Duration::from_millis(250);

/// How long a partition that is given back may take to become quiet.
const LEAVE: Duration = Duration::from_secs(35);

/// The same at the end of the process, when no attempt runs any more.
const AT_THE_END: Duration = Duration::from_secs(5);

/// Headers that make a write depend on who owns a partition.
pub fn fence(headers: &mut HeaderMap, owner: String, epoch: u64) {
    headers.insert(EXPECTED, epoch.to_string());
    headers.insert("Nats-Expected-Last-Subject-Sequence-Subject", owner);
}

/// Says that this dispatcher is alive, until shutdown.
pub async fn renew(core: Arc<Core>) {
    let mut every = tokio::time::interval(RENEW);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut renewed = Renewed {
        elsewhere: Instant::now() + ELSEWHERE,
        good_until: None,
        sequence: 0,
        position: 0,
        failed: false,
    };
    while core.shutdown.run_until_cancelled(every.tick()).await.is_some() {
        if !core.caught_up() {
            every.reset_after(LOOK);
            continue;
        }
        let sent = Instant::now();
        // Who gets no answers may be heard all the same: until there is one, this counts for nothing.
        let is_try = renewed.good_until.is_some_and(|until| until <= sent);
        let message = alive(&core, (!is_try).then_some(LEASE));
        match publish_within(&core.client, message, ANSWER).await {
            Ok(_) if is_try => {
                renewed.good_until = None;
                every.reset_immediately();
            }
            Ok(sequence) => {
                let position = {
                    let mut inner = core.lock();
                    inner.renewed(sent + LEASE, renewed.failed);
                    inner.position
                };
                core.offered.notify_one();
                if renewed.failed {
                    tracing::info!("the lease of this dispatcher is renewed again");
                }
                if position < renewed.sequence && position == renewed.position {
                    core.behind.notify_one();
                }
                renewed = Renewed {
                    elsewhere: sent + ELSEWHERE,
                    good_until: Some(sent + LEASE),
                    sequence,
                    position,
                    failed: false,
                };
            }
            Err(error) => {
                if !std::mem::replace(&mut renewed.failed, true) {
                    tracing::warn!(%error, "the lease of this dispatcher was not renewed; it is tried again and again");
                }
                every.reset_after(LOOK);
                if renewed.elsewhere < Instant::now() && core.client.connection_state() == State::Connected {
                    // Sooner from now on: of three servers, one that is cut off is found again and again.
                    renewed.elsewhere = Instant::now() + ELSEWHERE / 2;
                    tracing::warn!(%error, "another server of NATS is connected to");
                    // It is only refused when the client has ended, and so has this.
                    drop(core.client.force_reconnect().await);
                }
            }
        }
    }
}

/// What is known of the last renewal.
struct Renewed {
    /// After this another server is connected to, if there is none.
    elsewhere: Instant,
    /// Until when it is good; `None` before the first, and once there is an answer again.
    good_until: Option<Instant>,
    /// Where it stands in the log.
    sequence: u64,
    /// How far the log was read then.
    position: u64,
    /// Those since have failed.
    failed: bool,
}

/// That this dispatcher is alive for so long; without a lease, it only asks for an answer.
fn alive(core: &Core, lease: Option<Duration>) -> Outgoing {
    let mut headers = HeaderMap::new();
    if let Some(lease) = lease {
        headers.insert(tail::LEASE, lease.as_millis().to_string());
    }
    headers.insert(tail::CLOCK, core.clock.now().as_millis().to_string());
    headers.insert(POSITION, core.lock().position.to_string());
    Outgoing { subject: core.names.member(&core.me), headers, body: Bytes::new() }
}

/// Claims and gives back, until shutdown.
pub async fn run(core: Arc<Core>) {
    let mut every = tokio::time::interval(LOOK);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while core.shutdown.run_until_cancelled(every.tick()).await.is_some() {
        let now = Instant::now();
        let moves = {
            let inner = core.lock();
            if !inner.lease_is_good(now) {
                continue;
            }
            let is_alive = |id: &str| id == core.me || inner.is_alive(id, now);
            let owners = inner.partitions.iter().map(|part| part.owner.as_deref().filter(|id| is_alive(id)));
            let members = inner.members.keys().map(String::as_str).filter(|id| is_alive(id));
            let members = members.chain([core.me.as_str()]).collect();
            plan(&View { me: &core.me, members, owners: owners.collect() })
        };
        let claims = moves.claim.into_iter().map(|index| claim(&core, index));
        futures::future::join_all(claims).await;
        if let Some(index) = moves.release {
            give_back(&core, index, LEAVE).await;
        }
        give_back_again(&core).await;
        say_again(&core).await;
    }
}

/// Makes a partition this dispatcher's, unless another is quicker: it is once that was read.
async fn claim(core: &Arc<Core>, index: usize) {
    let Some(epoch) = core.lock().partitions.get(index).map(|part| part.epoch) else { return };
    if let Err(error) = write_owner(core, index, epoch, &core.me).await {
        tracing::debug!(partition = index, %error, "a partition was not claimed");
    }
}

/// Gives back once more what the log still takes for this dispatcher's, since it was not told.
async fn give_back_again(core: &Core) {
    let left: Vec<(usize, u64)> = {
        let inner = core.lock();
        let is_left =
            |part: &Partition| part.mine.is_none() && part.owner.as_deref() == Some(core.me.as_str());
        inner.those(is_left)
    };
    for (index, epoch) in left {
        if let Err(error) = write_owner(core, index, epoch, "").await {
            tracing::debug!(partition = index, %error, "a partition was not given back");
        }
    }
}

/// Says once more who runs a partition where that stands far back: the beginning of the log goes.
async fn say_again(core: &Core) {
    let old: Vec<(usize, u64)> = {
        let inner = core.lock();
        let is_old = |part: &Partition| {
            let epoch = part.epoch;
            part.mine == Some(epoch)
                && !part.leaving
                && inner.position.saturating_sub(epoch) > core.config.snapshot_every / 2
        };
        inner.those(is_old)
    };
    let said =
        old.into_iter().map(|(index, epoch)| async move { write_owner(core, index, epoch, &core.me).await });
    for said in futures::future::join_all(said).await {
        if let Err(error) = said {
            tracing::debug!(%error, "an owner was not named again");
        }
    }
}

/// Lets what is leased of a partition end, and says that it is free.
async fn give_back(core: &Arc<Core>, index: usize, patience: Duration) {
    let Some(epoch) = leave(core, index) else { return };
    let quiet = async {
        while core.lock().partitions.get(index).is_some_and(|part| !part.is_quiet()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(patience, quiet).await.is_err() {
        tracing::warn!(partition = index, "a partition is given back although attempts of it still run");
    }
    core.lose(&mut core.lock(), index);
    if let Err(error) = write_owner(core, index, epoch, "").await {
        tracing::debug!(partition = index, %error, "a partition was not given back; it is taken over in time");
    }
}

/// Nothing new is leased of a partition from now on.
fn leave(core: &Core, index: usize) -> Option<u64> {
    let mut inner = core.lock();
    let part = inner.partitions.get_mut(index)?;
    part.leaving = true;
    part.claims.wake();
    part.mine
}

async fn write_owner(core: &Core, index: usize, epoch: u64, member: &str) -> Result<u64, PublishError> {
    let subject = core.names.owner(index);
    let mut headers = HeaderMap::new();
    headers.insert(tail::MEMBER, member);
    headers.insert(EXPECTED, epoch.to_string());
    publish(&core.client, Outgoing { subject, headers, body: Bytes::new() }).await
}

/// Gives back everything, and says that this dispatcher goes.
pub async fn leave_all(core: &Arc<Core>) {
    let mine = core.lock().those(|part| part.mine.is_some());
    futures::future::join_all(mine.into_iter().map(|(index, _)| give_back(core, index, AT_THE_END))).await;
    if let Err(error) = publish(&core.client, alive(core, Some(Duration::ZERO))).await {
        tracing::debug!(%error, "the others were not told that this dispatcher goes");
    }
    core.lock().lease_until = None;
}
