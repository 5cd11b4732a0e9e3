//! Until when a certificate is valid.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const SEQUENCE: u8 = 0x30;
const EXPLICIT_VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `notAfter` of an X.509 certificate in DER, in seconds since the epoch;
/// `None` if it is not laid out as RFC 5280, section 4.1, says.
///
/// For the metric alone. Whether the certificate is good is for the client to
/// say, so a whole X.509 library would be much for one number.
pub(super) fn not_after(der: &[u8]) -> Option<i64> {
    let certificate = Elements(der).expect(SEQUENCE)?;
    let mut fields = Elements(Elements(certificate).expect(SEQUENCE)?);
    let (tag, _) = fields.next()?;
    if tag == EXPLICIT_VERSION {
        fields.next()?; // serialNumber
    }
    fields.next()?; // signature
    fields.next()?; // issuer
    let mut validity = Elements(fields.expect(SEQUENCE)?);
    validity.next()?; // notBefore
    let (tag, time) = validity.next()?;
    seconds(tag, std::str::from_utf8(time).ok()?)
}

/// The elements of a constructed value, one after the other.
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    fn expect(&mut self, expected: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == expected).map(|(_, content)| content)
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let [tag, length, rest @ ..] = self.0 else { return None };
        let (length, rest) = if *length < 0x80 {
            (usize::from(*length), rest)
        } else {
            // The long form: so many bytes of length follow.
            let (bytes, rest) =
                rest.split_at_checked(usize::from(length & 0x7f)).filter(|(b, _)| b.len() <= 4)?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }
}

fn seconds(tag: u8, time: &str) -> Option<i64> {
    let time = time.strip_suffix('Z')?;
    let (year, rest) = match tag {
        GENERALIZED_TIME => {
            let (year, rest) = time.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        UTC_TIME => {
            let (year, rest) = time.split_at_checked(2)?;
            let year: i16 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        _ => return None,
    };
    let mut rest = rest;
    let mut pair = || {
        let (digits, after) = rest.split_at_checked(2)?;
        rest = after;
        digits.parse::<i8>().ok()
    };
    let moment = DateTime::new(year, pair()?, pair()?, pair()?, pair()?, pair()?, 0).ok()?;
    Some(TimeZone::UTC.to_timestamp(moment).ok()?.as_second())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn the_end_is_read_in_both_notations_of_time() {
        for (year, expected) in [(2031, 1_924_992_000), (2049, 2_493_072_000), (2055, 2_682_374_400)] {
            let mut params = CertificateParams::new(vec!["herald.test".to_owned()]).unwrap();
            params.not_after = date_time_ymd(year, 1, 1);
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            assert_eq!(not_after(certificate.der()), Some(expected), "{year}");
        }
    }

    #[test]
    fn a_certificate_that_is_cut_or_changed_is_only_not_understood() {
        let params = CertificateParams::new(vec!["herald.test".to_owned()]).unwrap();
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let der = certificate.der().to_vec();
        for end in 0..der.len() {
            assert_eq!(not_after(&der[..end]), None, "{end}");
        }
        for position in 0..der.len() {
            for value in [0x00, 0x30, 0x7f, 0x80, 0x84, 0xff] {
                let mut changed = der.clone();
                changed[position] = value;
                let _ = not_after(&changed);
            }
        }
    }
}
