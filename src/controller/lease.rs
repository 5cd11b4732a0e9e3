//! Who leads: the holder of a Lease.
//!
//! ```text
//! candidate ── the Lease is free, or unchanged for its duration ──> leader ── work(token) runs
//!     ^                                                               │
//!     └── token cancelled, work ended <── not renewed in time, or taken
//! ```
//!
//! **Guarantees.** Every write carries the resourceVersion that was decided on,
//! so of two candidates one wins. A leader that could not renew for
//! `renew_within`, counted from before the request that last succeeded, stops
//! its work before anyone else may take the Lease over. No clocks are compared:
//! a candidate waits until the Lease has not changed for its duration on the
//! candidate's own monotonic clock. A leader that is stopped gives the Lease
//! back.
//!
//! **Assumes.** Work ends within `duration - renew_within` of its token's
//! cancellation. What it wrote last may still be on its way to the API server
//! then, so writes must carry a resourceVersion too.

use std::pin::pin;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How the Lease is held.
#[derive(Clone, Debug)]
pub struct Election {
    /// The namespace of the Lease.
    pub namespace: String,
    /// The name of the Lease.
    pub name: String,
    /// Who asks: another word for every process that ever ran.
    pub identity: String,
    /// How long a Lease that is not renewed stays its holder's; at least a second.
    pub duration: Duration,
    /// How long the holder goes on without a renewal: shorter than `duration`.
    pub renew_within: Duration,
    /// How often the holder renews and candidates look.
    pub retry: Duration,
}

impl Election {
    /// With the times that Kubernetes' own controllers use.
    pub fn new(namespace: String, name: String, identity: String) -> Self {
        Self {
            namespace,
            name,
            identity,
            duration: Duration::from_secs(15),
            renew_within: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// The Lease as it was last seen.
#[derive(Clone, Debug)]
struct Seen {
    lease: Lease,
    /// When it was first seen like this.
    since: Instant,
}

#[derive(Debug, PartialEq, Eq)]
enum Move {
    /// It is ours.
    Keep,
    /// Nobody holds it, or nobody has renewed it for its duration.
    Take,
    /// Somebody else holds it.
    Wait,
}

fn decide(seen: &Seen, me: &str, now: Instant) -> Move {
    let spec = seen.lease.spec.as_ref();
    let Some(holder) = spec.and_then(|s| s.holder_identity.as_deref()).filter(|h| !h.is_empty()) else {
        return Move::Take;
    };
    let seconds = spec.and_then(|s| s.lease_duration_seconds).and_then(|s| u64::try_from(s).ok());
    if holder == me {
        Move::Keep
    } else if now.duration_since(seen.since) > Duration::from_secs(seconds.unwrap_or(0)) {
        Move::Take
    } else {
        Move::Wait
    }
}

/// Runs `work` whenever this process leads, until `shutdown`. `tick` is called
/// at every look at the Lease.
pub async fn lead<F, W>(
    client: Client,
    election: &Election,
    mut work: F,
    mut tick: impl FnMut(),
    shutdown: CancellationToken,
) where
    F: FnMut(CancellationToken) -> W,
    W: Future<Output = ()>,
{
    let mut candidate = Candidate {
        api: Api::namespaced(client, &election.namespace),
        election: election.clone(),
        seen: None,
    };
    loop {
        let acquired = candidate.acquire(&mut tick);
        let Some(renewed) = shutdown.run_until_cancelled(acquired).await else { return };
        tracing::info!(lease = %election.name, identity = %election.identity, "leading");
        let token = CancellationToken::new();
        let mut running = pin!(work(token.clone()));
        let mut ended = false;
        let lost = tokio::select! {
            () = candidate.hold(renewed) => true,
            () = shutdown.cancelled() => false,
            () = &mut running => { ended = true; false }
        };
        token.cancel();
        if !ended {
            running.await;
        }
        if lost {
            tracing::warn!(lease = %election.name, "no longer leading: the lease was not renewed in time");
        } else {
            candidate.release().await;
            return;
        }
    }
}

struct Candidate {
    api: Api<Lease>,
    election: Election,
    seen: Option<Seen>,
}

/// Why a write did not succeed.
enum Refused {
    /// Somebody else wrote first, or deleted the Lease.
    Changed,
    /// The API server did not answer well, or in time.
    Failed(String),
}

impl Candidate {
    /// Waits until the Lease is ours; says when the request for it was sent.
    async fn acquire(&mut self, tick: &mut impl FnMut()) -> Instant {
        loop {
            tick();
            let asked = Instant::now();
            match self.try_acquire().await {
                Ok(true) => return asked,
                Ok(false) | Err(Refused::Changed) => {}
                Err(Refused::Failed(error)) => {
                    tracing::warn!(lease = %self.election.name, error, "cannot ask for the lease");
                }
            }
            tokio::time::sleep(self.election.retry).await;
        }
    }

    async fn try_acquire(&mut self) -> Result<bool, Refused> {
        self.look().await?;
        let over = match &self.seen {
            None => None,
            Some(seen) => match decide(seen, &self.election.identity, Instant::now()) {
                Move::Wait => return Ok(false),
                Move::Keep | Move::Take => Some(seen.lease.clone()),
            },
        };
        self.write(over, true).await.map(|()| true)
    }

    /// Renews until that fails for too long or somebody else holds the Lease.
    async fn hold(&mut self, mut renewed: Instant) {
        loop {
            let deadline = renewed + self.election.renew_within;
            tokio::time::sleep_until(deadline.min(Instant::now() + self.election.retry)).await;
            let asked = Instant::now();
            match tokio::time::timeout_at(deadline, self.renew()).await {
                Ok(Ok(true)) => renewed = asked,
                Ok(Ok(false)) | Err(_) => return,
                Ok(Err(Refused::Changed)) => {}
                Ok(Err(Refused::Failed(error))) => {
                    tracing::warn!(lease = %self.election.name, error, "cannot renew the lease");
                }
            }
        }
    }

    /// Whether the Lease is still ours.
    async fn renew(&mut self) -> Result<bool, Refused> {
        let Some(lease) = self.ours().await? else { return Ok(false) };
        let written = self.write(Some(lease), true).await;
        if matches!(written, Err(Refused::Changed)) {
            // The next round looks at what it is now.
            self.seen = None;
        }
        written.map(|()| true)
    }

    async fn release(&mut self) {
        // A renewal that was broken off may have been stored all the same, so this may have to look again.
        for _ in 0..3 {
            match self.give_back().await {
                Ok(true) => tracing::info!(lease = %self.election.name, "the lease is given back"),
                Ok(false) => {}
                Err(Refused::Changed) => {
                    self.seen = None;
                    continue;
                }
                Err(Refused::Failed(error)) => {
                    tracing::warn!(lease = %self.election.name, error, "cannot give the lease back");
                }
            }
            return;
        }
    }

    /// Whether it was ours to give.
    async fn give_back(&mut self) -> Result<bool, Refused> {
        let Some(lease) = self.ours().await? else { return Ok(false) };
        self.write(Some(lease), false).await.map(|()| true)
    }

    /// The Lease, if it is still ours.
    async fn ours(&mut self) -> Result<Option<Lease>, Refused> {
        if self.seen.is_none() {
            self.look().await?;
        }
        let ours = |seen: &&Seen| decide(seen, &self.election.identity, Instant::now()) == Move::Keep;
        Ok(self.seen.as_ref().filter(ours).map(|seen| seen.lease.clone()))
    }

    async fn look(&mut self) -> Result<(), Refused> {
        let lease = self.within(self.api.get_opt(&self.election.name)).await?;
        let version = |lease: &Lease| lease.metadata.resource_version.clone();
        self.seen = match (lease, self.seen.take()) {
            (Some(lease), Some(seen)) if version(&lease) == version(&seen.lease) => Some(seen),
            (Some(lease), _) => Some(Seen { lease, since: Instant::now() }),
            (None, _) => None,
        };
        Ok(())
    }

    /// Holds or gives back the Lease that was decided on; `None` for one that does not exist.
    async fn write(&mut self, over: Option<Lease>, hold: bool) -> Result<(), Refused> {
        let holder = if hold { self.election.identity.as_str() } else { "" };
        let now = MicroTime(jiff::Timestamp::now());
        let name = self.election.name.clone();
        let existed = over.is_some();
        let mut lease = over.unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
            spec: None,
        });
        let before = lease.spec.take().unwrap_or_default();
        let same = before.holder_identity.as_deref() == Some(holder);
        let seconds = if hold { self.election.duration.as_secs().max(1) } else { 1 };
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: i32::try_from(seconds).ok(),
            acquire_time: if same { before.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(before.lease_transitions.unwrap_or(0).saturating_add(i32::from(!same))),
            ..before
        });
        let parameters = PostParams::default();
        let written = if existed {
            self.within(self.api.replace(&name, &parameters, &lease)).await?
        } else {
            self.within(self.api.create(&parameters, &lease)).await?
        };
        self.seen = Some(Seen { lease: written, since: Instant::now() });
        Ok(())
    }

    /// No call hangs for longer than the Lease can bear.
    async fn within<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, Refused> {
        match tokio::time::timeout(self.election.renew_within / 2, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Err(Refused::Changed),
            Ok(Err(error)) => Err(Refused::Failed(error.to_string())),
            Err(_) => Err(Refused::Failed("no answer in time".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(holder: Option<&str>, seconds: Option<i32>, since: Instant) -> Seen {
        let spec = LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: seconds,
            ..LeaseSpec::default()
        };
        Seen { lease: Lease { spec: Some(spec), ..Lease::default() }, since }
    }

    #[test]
    fn a_lease_is_taken_only_when_it_is_free_or_has_not_changed_for_its_duration() {
        let since = Instant::now();
        let table = [
            (None, Some(15), 0, Move::Take),
            (Some(""), Some(15), 0, Move::Take),
            (Some("me"), Some(15), 100, Move::Keep),
            (Some("other"), Some(15), 15, Move::Wait),
            (Some("other"), Some(15), 16, Move::Take),
            (Some("other"), None, 1, Move::Take),
        ];
        for (holder, seconds, elapsed, expected) in table {
            let now = since + Duration::from_secs(elapsed);
            assert_eq!(decide(&seen(holder, seconds, since), "me", now), expected, "{holder:?} {elapsed}");
        }
    }
}
