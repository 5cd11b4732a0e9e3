//! When a certificate is signed, by table.

use std::time::Duration;

use super::*;

const DAY: Duration = Duration::from_hours(24);
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn valid(since: u32, left: u32) -> Validity {
    Validity { from: NOW.before(DAY * since), until: NOW.after(DAY * left) }
}

#[test]
fn a_certificate_is_signed_when_the_one_there_does_not_do() {
    let good = Served { validity: valid(10, 20), same_names: true, same_issuer: true };
    let of = |since, left| Ok(Served { validity: valid(since, left), ..good });
    let (young, ending) = (valid(10, 355), valid(364, 9));
    let future = Validity { from: NOW.after(DAY), until: NOW.after(DAY * 30) };
    let broken = Reason::Broken(Unreadable::Mismatch);
    let table = [
        ("none", Err(Reason::Missing), young, Verdict::Sign(Reason::Missing)),
        ("unusable", Err(broken), young, Verdict::Sign(broken)),
        ("good", Ok(good), young, Verdict::Keep(NOW.after(DAY * 10))),
        ("just before the last third", of(19, 11), young, Verdict::Keep(NOW.after(DAY))),
        ("in the last third", of(20, 10), young, Verdict::Sign(Reason::Age)),
        ("over", of(31, 0), young, Verdict::Sign(Reason::Age)),
        ("not valid yet", Ok(Served { validity: future, ..good }), young, Verdict::Sign(Reason::NotYetValid)),
        ("other names", Ok(Served { same_names: false, ..good }), young, Verdict::Sign(Reason::Names)),
        ("another CA's", Ok(Served { same_issuer: false, ..good }), young, Verdict::Sign(Reason::Issuer)),
        ("as long as its CA", of(21, 9), ending, Verdict::Keep(NOW.after(DAY * 9))),
        ("shorter than its CA", of(21, 8), ending, Verdict::Sign(Reason::Age)),
    ];
    for (what, served, ca, expected) in table {
        assert_eq!(decide(served, ca, &Lifetimes::default(), NOW), expected, "{what}");
    }
}
