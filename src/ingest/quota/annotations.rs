//! What a Namespace says about its own quota.

use std::collections::BTreeMap;

use super::{Measure, Quota};

/// What the annotations begin with.
pub(super) const PREFIX: &str = "herald.dev/quota-";
/// So much is shown of a value that cannot be read.
const SHOWN: usize = 40;

/// The numbers that take the place of the flags'.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Overrides {
    events_per_second: Option<u64>,
    bytes_per_second: Option<u64>,
    bytes_queued: Option<u64>,
    /// About values that cannot be read, for the log.
    pub(super) complaints: Vec<String>,
}

impl Overrides {
    /// What the annotations say.
    pub(super) fn read(annotations: &BTreeMap<String, String>) -> Self {
        let mut overrides = Self::default();
        for measure in Measure::ALL {
            let name = format!("{PREFIX}{}", measure.name());
            let Some(text) = annotations.get(&name) else { continue };
            let number = match measure {
                Measure::EventsPerSecond => text.parse().ok(),
                Measure::BytesPerSecond | Measure::BytesQueued => bytes(text),
            };
            if number.is_none() {
                let shown: String = text.chars().take(SHOWN).collect();
                let example = match measure {
                    Measure::EventsPerSecond => "a number such as 500",
                    Measure::BytesPerSecond | Measure::BytesQueued => "bytes such as 67108864 or 64Mi",
                };
                overrides.complaints.push(format!(
                    "the annotation {name} is {shown:?}: write {example}, or 0 for no limit; until then the flag's value holds"
                ));
            }
            match measure {
                Measure::EventsPerSecond => overrides.events_per_second = number,
                Measure::BytesPerSecond => overrides.bytes_per_second = number,
                Measure::BytesQueued => overrides.bytes_queued = number,
            }
        }
        overrides
    }

    /// The flags' numbers, where there are no others.
    pub(super) fn over(&self, flags: Quota) -> Quota {
        Quota {
            events_per_second: self.events_per_second.unwrap_or(flags.events_per_second),
            bytes_per_second: self.bytes_per_second.unwrap_or(flags.bytes_per_second),
            bytes_queued: self.bytes_queued.unwrap_or(flags.bytes_queued),
        }
    }
}

/// A whole number of bytes, as Kubernetes writes quantities.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, suffix) = text.split_at_checked(digits)?;
    let unit = match suffix {
        "" => 1,
        "k" => 1000,
        "M" => 1000_u64.pow(2),
        "G" => 1000_u64.pow(3),
        "T" => 1000_u64.pow(4),
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: Quota = Quota { events_per_second: 1, bytes_per_second: 2, bytes_queued: 3 };

    fn read(annotations: &[(&str, &str)]) -> Overrides {
        let named = |(name, value): &(&str, &str)| (format!("{PREFIX}{name}"), (*value).to_owned());
        Overrides::read(&annotations.iter().map(named).collect())
    }

    #[test]
    fn an_annotation_takes_the_place_of_its_flag_alone() {
        let table = [
            (&[][..], FLAGS),
            (&[("events-per-second", "500")], Quota { events_per_second: 500, ..FLAGS }),
            (&[("events-per-second", "0")], Quota { events_per_second: 0, ..FLAGS }),
            (&[("bytes-per-second", "64Mi")], Quota { bytes_per_second: 64 << 20, ..FLAGS }),
            (&[("bytes-queued", "1G")], Quota { bytes_queued: 1_000_000_000, ..FLAGS }),
            (&[("bytes-queued", "16777215Ti")], Quota { bytes_queued: 16_777_215 << 40, ..FLAGS }),
            (&[("bytes-queue", "1")], FLAGS),
        ];
        for (annotations, expected) in table {
            let overrides = read(annotations);
            assert_eq!(overrides.over(FLAGS), expected, "{annotations:?}");
            assert!(overrides.complaints.is_empty(), "{annotations:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_complained_of_and_changes_nothing() {
        let long = "9".repeat(1000);
        for (name, value) in [
            ("events-per-second", ""),
            ("events-per-second", "-1"),
            ("events-per-second", "1k"),
            ("events-per-second", "1.5"),
            ("bytes-per-second", "1.5Mi"),
            ("bytes-per-second", "Mi"),
            ("bytes-queued", "64 Mi"),
            ("bytes-queued", "64mi"),
            ("bytes-queued", "16777216Ti"),
            ("bytes-queued", "٣"),
            ("bytes-queued", "1\u{1b}[2J"),
            ("bytes-queued", &long),
        ] {
            let overrides = read(&[(name, value), ("unknown", "x")]);
            assert_eq!(overrides.over(FLAGS), FLAGS, "{value}");
            let [complaint] = overrides.complaints.as_slice() else { panic!("{overrides:?}") };
            assert!(complaint.len() < 250 && complaint.contains(name), "{complaint}");
            assert!(!complaint.chars().any(char::is_control), "{complaint:?}");
        }
    }
}
