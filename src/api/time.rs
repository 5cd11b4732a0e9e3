//! Moments of the API server's objects to and from [`Timestamp`].

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use k8s_openapi::jiff;

use crate::model::Timestamp;

/// To whole seconds, as the API server stores it; `None` beyond the year 9999.
pub fn time(moment: Timestamp) -> Option<Time> {
    i64::try_from(moment.as_secs()).ok().and_then(|secs| jiff::Timestamp::from_second(secs).ok()).map(Time)
}

/// To the millisecond; `None` beyond the year 9999.
pub fn micro_time(moment: Timestamp) -> Option<MicroTime> {
    let millis = i64::try_from(moment.as_millis()).ok()?;
    jiff::Timestamp::from_millisecond(millis).ok().map(MicroTime)
}

impl From<&MicroTime> for Timestamp {
    /// A moment before 1970 becomes 1970.
    fn from(moment: &MicroTime) -> Self {
        Self::from_millis(u64::try_from(moment.0.as_millisecond()).unwrap_or(0))
    }
}

impl From<&Time> for Timestamp {
    /// A moment before 1970 becomes 1970.
    fn from(moment: &Time) -> Self {
        Self::from_millis(u64::try_from(moment.0.as_millisecond()).unwrap_or(0))
    }
}
