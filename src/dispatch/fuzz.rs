//! What must hold of what an endpoint says, and of what is remembered of it.
#![allow(
    clippy::expect_used,
    clippy::needless_pass_by_value,
    clippy::wildcard_enum_match_arm,
    reason = "a panic is what a fuzzer looks for"
)]

use std::num::NonZeroU16;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::memory::Memory;
use super::verdict::{Verdict, judge, next};
use crate::journal::{LaneState, Outcome};
use crate::model::{Backoff, DeliveryPolicy, Jitter, Ordering, Timestamp};
use crate::outbound::Answer;

const POLICY: DeliveryPolicy = DeliveryPolicy {
    timeout: Duration::from_secs(3),
    max_attempts: NonZeroU16::MAX,
    backoff: Backoff { initial: Duration::from_secs(1), max: Duration::from_mins(5) },
    max_in_flight: NonZeroU16::MIN,
    max_per_second: None,
    ordering: Ordering::None,
};

/// Whatever an endpoint asks for, it is tried again no sooner than the webhook's own delay
/// and no later than its longest.
pub(crate) fn retry_after(data: &[u8]) {
    let (failures, text) = data.split_first().unwrap_or((&0, &[]));
    let Ok(value) = HeaderValue::from_bytes(text) else { return };
    let mut headers = HeaderMap::new();
    headers.insert(header::RETRY_AFTER, value);
    let answer = Answer {
        status: StatusCode::SERVICE_UNAVAILABLE,
        headers,
        body: bytes::Bytes::new(),
        truncated: false,
    };
    asked_for(answer, u16::from(*failures));
}

fn asked_for(answer: Answer, failures: u16) {
    for now in [0, 1_700_000_000_000, u64::MAX] {
        let verdict = judge(&Ok(answer.clone()), Timestamp::from_millis(now));
        let after = |verdict: &Verdict| match next(verdict, failures, &POLICY, Jitter::LONGEST) {
            Outcome::Retry { after } => Some(after),
            Outcome::Done | Outcome::Dead(_) | Outcome::Release => None,
        };
        let Verdict::Failed(failed) = &verdict else { return };
        let mut unasked = failed.clone();
        unasked.retry_after = None;
        let (own, asked) = (after(&Verdict::Failed(unasked)), after(&verdict));
        assert!(own <= asked && asked <= Some(POLICY.backoff.max), "{own:?} {asked:?}");
    }
}

/// An answer that is whole ends or repeats its delivery, and says so in few words.
pub(crate) fn judged(answer: Answer) {
    let delivered = answer.status.is_success();
    let verdict = judge(&Ok(answer.clone()), Timestamp::from_millis(0));
    assert_eq!(verdict == Verdict::Delivered, delivered);
    if let Some((_, message)) = verdict.failure() {
        assert!(message.len() < 200, "{message}");
    }
    asked_for(answer, 0);
}

/// What is remembered of an endpoint is read as it was stored, whatever that was read from.
pub(crate) fn memory(data: &[u8]) {
    let memory = Memory::load(&LaneState(data.to_vec()));
    assert_eq!(Memory::load(&memory.store()), memory);
}
