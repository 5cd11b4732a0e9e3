//! What goes into an exchange, what comes out, and how long each step took.

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use super::{ExchangeError, Step};
use crate::model::Phases;

/// What to send. Host, length and framing are the channel's.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET` for the challenge, `POST` for a delivery.
    pub method: Method,
    /// All other headers.
    pub headers: HeaderMap,
    /// May be empty.
    pub body: Bytes,
}

/// What the endpoint said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Any final status; 3xx too, since redirects are not followed.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, at most [`super::MAX_BODY`] bytes of it.
    pub body: Bytes,
    /// There was more than `body` holds.
    pub truncated: bool,
}

/// An exchange that is over, well or not.
#[derive(Debug)]
#[must_use]
pub struct Exchange {
    /// How long it took.
    pub phases: Phases,
    /// The whole answer, whatever its status, or why there is none.
    pub end: Result<Answer, ExchangeError>,
}

/// Follows an exchange from outside the future that may be dropped at its deadline.
#[derive(Debug)]
pub(super) struct Progress {
    step: Step,
    since: Instant,
    phases: Phases,
}

impl Progress {
    pub(super) fn start(step: Step) -> Self {
        Self { step, since: Instant::now(), phases: Phases::default() }
    }

    /// When the present step began, or the last one ended.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    pub(super) fn begin(&mut self, step: Step) {
        if step != self.step {
            self.end();
            self.step = step;
        }
    }

    /// The present step is over.
    pub(super) fn end(&mut self) {
        let now = Instant::now();
        let phase = match self.step {
            Step::Resolve => &mut self.phases.resolve,
            Step::Connect => &mut self.phases.connect,
            Step::Tls => &mut self.phases.tls,
            Step::Head => &mut self.phases.first_byte,
            Step::Body => &mut self.phases.body,
        };
        *phase += now.saturating_duration_since(self.since);
        self.since = now;
    }

    pub(super) fn step(&self) -> Step {
        self.step
    }

    pub(super) fn phases(&self) -> Phases {
        self.phases
    }
}
