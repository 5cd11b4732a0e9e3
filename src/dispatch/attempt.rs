//! One attempt: a request out, an answer or an error back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

use super::request::Sender;
use crate::journal::Lease;
use crate::model::Timestamp;
use crate::outbound::{Answer, Channel, ExchangeError, Request};
use crate::subscriptions::{Credentials, Known};

/// A lease and the request made from it.
pub(super) struct Attempt<L> {
    lease: L,
    known: Arc<Known>,
    request: Request,
}

/// An attempt that has ended, one way or the other.
pub(super) struct Ended<L> {
    pub(super) lease: L,
    /// The version of the webhook that it was sent by.
    pub(super) known: Arc<Known>,
    pub(super) end: Result<Answer, ExchangeError>,
    pub(super) took: Duration,
}

impl<L: Lease> Attempt<L> {
    pub(super) fn new(lease: L, known: &Arc<Known>, credentials: &Credentials, now: Timestamp) -> Self {
        let sender = Sender {
            webhook: known.uid,
            payload: known.settings.payload,
            api_key: &credentials.api_key,
            signing: credentials.signing.as_ref(),
        };
        let request = sender.request(&lease.delivery().event, now, None);
        Self { lease, known: known.clone(), request }
    }

    /// The permit is held for as long as the attempt runs.
    pub(super) async fn run(
        self,
        channel: Channel,
        timeout: Duration,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Ended<L> {
        let started = Instant::now();
        let end = channel.exchange(self.request, timeout).await;
        drop(permit);
        Ended { lease: self.lease, known: self.known, end, took: started.elapsed() }
    }
}
