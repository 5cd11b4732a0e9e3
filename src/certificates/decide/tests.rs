//! The order of things, by table; by default a CA lives for 365 days, of which
//! 61 are left when its successor is made.

use std::time::Duration;

use super::*;

const DAY: Duration = Duration::from_hours(24);
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Valid since so many days and for so many more.
fn valid(since: u32, left: u32) -> Validity {
    Validity { from: NOW.before(DAY * since), until: NOW.after(DAY * left) }
}

fn next(validity: Validity, published: Option<Timestamp>) -> Successor {
    Successor { validity, published }
}

#[test]
fn each_state_has_its_one_next_step() {
    let good = Ok(valid(10, 355));
    let waning = Ok(valid(305, 60));
    let fresh = valid(1, 364);
    let far = |days: u32| NOW.after(DAY * days);
    let broken = Loss::Broken(Unreadable::Key);
    let second = Duration::from_secs(1);
    let table = [
        ("nothing is stored", Err(Loss::Missing), None, vec![], Step::Begin(Loss::Missing)),
        ("it is broken", Err(broken), None, vec![], Step::Begin(broken)),
        ("it has ended this moment", Ok(valid(365, 0)), None, vec![], Step::Begin(Loss::Expired)),
        (
            "it has not begun",
            Ok(Validity { from: far(1), until: far(9) }),
            None,
            vec![],
            Step::Begin(Loss::NotYetValid),
        ),
        ("all is well", good, None, vec![], Step::Wait(far(355 - 61))),
        ("the last day without a successor", Ok(valid(303, 62)), None, vec![], Step::Wait(far(1))),
        ("the day after", Ok(valid(304, 61)), None, vec![], Step::MakeNext),
        ("a successor is due", waning, None, vec![], Step::MakeNext),
        (
            "the successor is not in every bundle",
            waning,
            Some(next(fresh, None)),
            vec![],
            Step::Wait(far(60)),
        ),
        (
            "it is since a moment",
            waning,
            Some(next(fresh, Some(NOW.before(second)))),
            vec![],
            Step::Wait(NOW.after(DAY).before(second)),
        ),
        (
            "it is for nearly the lead",
            waning,
            Some(next(fresh, Some(NOW.before(DAY).after(second)))),
            vec![],
            Step::Wait(NOW.after(second)),
        ),
        ("it is for the lead", waning, Some(next(fresh, Some(NOW.before(DAY)))), vec![], Step::Switch(None)),
        ("that is noted for tomorrow", waning, Some(next(fresh, Some(far(1)))), vec![], Step::Wait(far(60))),
        (
            "the successor has ended",
            waning,
            Some(next(valid(365, 0), Some(NOW.before(DAY)))),
            vec![],
            Step::MakeNext,
        ),
        (
            "it was published in time, and lost",
            Err(broken),
            Some(next(fresh, Some(NOW.before(DAY)))),
            vec![],
            Step::Switch(Some(broken)),
        ),
        ("it was lost on the way", Err(broken), Some(next(fresh, None)), vec![], Step::Switch(Some(broken))),
        (
            "it ends on the way",
            Ok(valid(365, 0)),
            Some(next(fresh, None)),
            vec![],
            Step::Switch(Some(Loss::Expired)),
        ),
        (
            "both are gone",
            Err(broken),
            Some(next(valid(365, 0), Some(NOW.before(DAY)))),
            vec![],
            Step::Begin(broken),
        ),
        ("a retired one lives", good, None, vec![far(5), far(3)], Step::Wait(far(3))),
        ("a retired one has ended", good, None, vec![far(5), NOW], Step::Forget),
    ];
    for (what, signing, next, retired, expected) in table {
        let observed = Observed { signing, next, retired };
        assert_eq!(decide(&observed, &Lifetimes::default(), NOW), expected, "{what}");
    }
}

/// Runs the rules through many generations, publishing as late as is allowed.
fn through_generations(lifetimes: Lifetimes, publishing: Duration) {
    let step = Duration::from_hours(1);
    let mut observed = Observed { signing: Err(Loss::Missing), next: None, retired: Vec::new() };
    let mut made = NOW;
    let (mut now, mut switches) = (NOW, 0);
    while switches < 5 {
        let fresh = Validity { from: now, until: now.after(lifetimes.ca()) };
        match decide(&observed, &lifetimes, now) {
            Step::Begin(loss) => {
                assert_eq!(loss, Loss::Missing, "no CA is lost by age");
                observed.signing = Ok(fresh);
            }
            Step::MakeNext => {
                observed.next = Some(Successor { validity: fresh, published: None });
                made = now;
            }
            Step::Switch(early) => {
                assert_eq!(early, None);
                let next = observed.next.take().unwrap();
                assert!(next.published.unwrap().after(lifetimes.lead()) <= now);
                assert!(next.validity.left(now) >= lifetimes.certificate(), "what it signs is not cut short");
                observed.retired.push(observed.signing.unwrap().until);
                observed.signing = Ok(next.validity);
                switches += 1;
            }
            Step::Forget => observed.retired.retain(|end| now < *end),
            Step::Wait(due) => {
                assert!(now < due);
                let left = observed.signing.unwrap().left(now);
                assert!(
                    left >= lifetimes.certificate(),
                    "what is signed now, {left:?} before, is not cut short"
                );
                now = now.after(step);
            }
        }
        if let Some(next) = observed.next.as_mut().filter(|_| now >= made.after(publishing)) {
            next.published.get_or_insert(now);
        }
    }
}

#[test]
fn no_certificate_is_ever_cut_short_by_the_end_of_its_ca() {
    let hours = Duration::from_hours;
    for (ca, certificate, lead) in [(8760, 720, 24), (2208, 720, 24), (344, 48, 100), (30, 6, 6)] {
        let lifetimes = Lifetimes::new(hours(ca), hours(certificate), hours(lead)).unwrap();
        through_generations(lifetimes, Duration::ZERO);
        through_generations(lifetimes, hours(certificate));
    }
}
