//! Durations as people write them in a manifest: `3s`, `1m30s`, `500ms`.

use std::time::Duration;

/// What [`parse`] reads, for the schema. It is the part of Go's syntax that a
/// timeout or a delay needs, with so few digits that no sum overflows.
pub(super) const PATTERN: &str = r"^([0-9]{1,6}(\\.[0-9]{1,3})?(ms|s|m|h))+$";

/// The duration that a text of [`PATTERN`] says.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, tail) = rest.split_at(unit_at);
        let number_at = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at(number_at);
        sum += Duration::from_micros(thousandths(number)? * millis(unit)?);
        rest = next;
    }
    (!text.is_empty()).then_some(sum)
}

fn millis(unit: &str) -> Option<u64> {
    match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    }
}

/// A number of one to six digits and at most three decimals, times 1000.
fn thousandths(number: &str) -> Option<u64> {
    let digits = |text: &str, most: usize| -> Option<u64> {
        let good = (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if good { text.parse().ok() } else { None }
    };
    match number.split_once('.') {
        None => Some(digits(number, 6)? * 1000),
        Some((whole, decimals)) => {
            digits(decimals, 3)?;
            Some(digits(whole, 6)? * 1000 + digits(&format!("{decimals:0<3}"), 3)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_the_sum_of_its_parts() {
        let table = [
            ("3s", Some(3_000)),
            ("1m30s", Some(90_000)),
            ("1.5h", Some(5_400_000)),
            ("0.25s", Some(250)),
            ("100ms", Some(100)),
            ("999999h", Some(999_999 * 3_600_000)),
            ("1000000s", None),
            ("1.s", None),
            ("s", None),
            ("1", None),
            ("", None),
            ("1d", None),
            ("1s2", None),
        ];
        for (text, millis) in table {
            assert_eq!(parse(text), millis.map(Duration::from_millis), "{text}");
        }
    }
}
