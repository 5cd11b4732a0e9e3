//! What an attempt's end means, and what follows from it: pure.
//!
//! ```text
//! Answer | ExchangeError ── judge ──> Verdict ── next ──> Outcome for the journal
//! ```

use std::num::NonZeroU16;
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};

use crate::api::Reason;
use crate::journal::{DeathNote, Outcome};
use crate::model::line::short_line;
use crate::model::{DeliveryPolicy, Jitter, Timestamp};
use crate::outbound::{Answer, ExchangeError};

/// The longest message of a failure, in bytes.
const MOST_MESSAGE: usize = 1024;

/// What an attempt's end means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// 2xx, in time.
    Delivered,
    /// 410: the endpoint wants nothing any more.
    Gone,
    /// Anything else.
    Failed(Failed),
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) reason: Reason,
    pub(crate) message: String,
    /// What the endpoint asked for.
    pub(crate) retry_after: Option<Duration>,
}

impl Verdict {
    /// Why the attempt failed, in a word and a sentence; `None` if it did not.
    pub(crate) fn failure(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Delivered => None,
            Self::Gone => Some(("Gone", "the endpoint answered 410 Gone")),
            Self::Failed(failed) => Some((failed.reason.as_str(), &failed.message)),
        }
    }
}

/// Reads an attempt's end, at `now`.
pub(crate) fn judge(end: &Result<Answer, ExchangeError>, now: Timestamp) -> Verdict {
    match end {
        Ok(answer) if answer.status.is_success() => Verdict::Delivered,
        Ok(answer) if answer.status == StatusCode::GONE => Verdict::Gone,
        Ok(answer) => Verdict::Failed(Failed {
            reason: Reason::UnexpectedStatus,
            message: format!("the endpoint answered {}", answer.status),
            retry_after: retry_after(&answer.headers, now),
        }),
        Err(error) => {
            // It is kept for each attempt, shown to people, and may repeat what an endpoint said.
            let message = short_line(&error.to_string(), MOST_MESSAGE);
            Verdict::Failed(Failed { reason: error.reason(), message, retry_after: None })
        }
    }
}

/// What the journal is told of a delivery that has failed `failures` times before.
pub(crate) fn next(verdict: &Verdict, failures: u16, policy: &DeliveryPolicy, jitter: Jitter) -> Outcome {
    let Some((reason, message)) = verdict.failure() else {
        return Outcome::Done;
    };
    let dead = |message| Outcome::Dead(DeathNote { reason: reason.to_owned(), message });
    let Verdict::Failed(failed) = verdict else {
        return dead(message.to_owned());
    };
    let failures = failures.saturating_add(1);
    if failures >= policy.max_attempts.get() {
        return dead(last_words(failures, policy.max_attempts, message));
    }
    let own = policy.backoff.delay(failures.into(), jitter);
    let asked = failed.retry_after.unwrap_or_default();
    Outcome::Retry { after: own.max(asked.min(policy.backoff.max)) }
}

fn last_words(failures: u16, most: NonZeroU16, message: &str) -> String {
    format!("given up after {failures} of {most} attempts; the last: {message}")
}

/// `Retry-After` in seconds or as a date; anything else is as if it were absent.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too many digits for a number are still a long time.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let since_epoch = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    let date = Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).ok()?);
    Some(date.since(now))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use http::HeaderValue;

    use super::*;
    use crate::model::{Backoff, Ordering};

    fn policy() -> DeliveryPolicy {
        DeliveryPolicy {
            timeout: Duration::from_secs(3),
            max_attempts: NonZeroU16::new(3).unwrap(),
            backoff: Backoff { initial: Duration::from_secs(1), max: Duration::from_mins(5) },
            max_in_flight: NonZeroU16::MIN,
            max_per_second: None,
            ordering: Ordering::None,
        }
    }

    fn failed(retry_after: Option<u64>) -> Verdict {
        Verdict::Failed(Failed {
            reason: Reason::TimedOut,
            message: "too slow".to_owned(),
            retry_after: retry_after.map(Duration::from_secs),
        })
    }

    #[test]
    fn a_failure_is_tried_again_later_and_later_until_the_last() {
        let after = |failures, verdict: &Verdict| next(verdict, failures, &policy(), Jitter::LONGEST);
        assert_eq!(after(0, &failed(None)), Outcome::Retry { after: Duration::from_secs(1) });
        assert_eq!(after(1, &failed(None)), Outcome::Retry { after: Duration::from_secs(2) });
        let Outcome::Dead(note) = after(2, &failed(None)) else { panic!("the third failure is the last") };
        assert_eq!(note.reason, "TimedOut");
        assert!(note.message.contains("3 of 3 attempts") && note.message.contains("too slow"), "{note:?}");
    }

    #[test]
    fn the_endpoint_may_ask_for_more_time_but_not_for_less_and_not_for_ever() {
        let after = |asked| next(&failed(Some(asked)), 0, &policy(), Jitter::LONGEST);
        assert_eq!(after(30), Outcome::Retry { after: Duration::from_secs(30) });
        assert_eq!(after(0), Outcome::Retry { after: Duration::from_secs(1) });
        assert_eq!(after(86_400), Outcome::Retry { after: Duration::from_mins(5) });
    }

    #[test]
    fn a_date_to_come_back_at_stays_within_the_limits_whatever_the_time_of_day() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let now = Timestamp::from_millis(784_111_777_000);
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("Sun, 06 Nov 1994 08:50:07 GMT"));
        let day = Duration::from_hours(24);
        for (now, seconds) in [(now, 30), (now.before(day), 300), (now.after(day), 1)] {
            let failed = failed(retry_after(&headers, now).map(|asked| asked.as_secs()));
            let after = Duration::from_secs(seconds);
            assert_eq!(next(&failed, 0, &policy(), Jitter::LONGEST), Outcome::Retry { after }, "{now}");
        }
    }

    #[test]
    fn success_and_410_end_a_delivery_at_once() {
        assert_eq!(next(&Verdict::Delivered, 0, &policy(), Jitter::LONGEST), Outcome::Done);
        let dead = next(&Verdict::Gone, 0, &policy(), Jitter::LONGEST);
        assert!(matches!(dead, Outcome::Dead(note) if note.reason == "Gone"));
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let now = Timestamp::from_millis(784_111_777_000);
        let table = [
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("0", Some(0)),
            ("99999999999999999999999", Some(u64::from(u32::MAX))),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
            ("1.5", None),
            ("", None),
        ];
        for (text, seconds) in table {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(text));
            assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{text:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
