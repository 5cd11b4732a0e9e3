//! The quotas of several namespaces together.

use std::collections::BTreeMap;

use super::*;

const FLAGS: Quota = Quota { events_per_second: 2000, bytes_per_second: 8 << 20, bytes_queued: 100 };

fn annotated(events_per_second: &str) -> Overrides {
    let name = format!("{}events-per-second", annotations::PREFIX);
    Overrides::read(&BTreeMap::from([(name, events_per_second.to_owned())]))
}

#[tokio::test(start_paused = true)]
async fn one_namespace_over_quota_leaves_the_others_theirs() {
    let quotas = Quotas::new(FLAGS, true);
    assert_eq!(quotas.take_events("a", 2000, 0), Ok(()));
    let over = quotas.take_events("a", 1, 0).unwrap_err();
    assert_eq!((over.measure, over.retry_after), (Measure::EventsPerSecond, Duration::from_micros(500)));
    assert_eq!(quotas.take_events("b", 2000, 0), Ok(()));
    assert_eq!(quotas.take_bytes("a", 8 << 20), Ok(()), "each number counts by itself");
    let over = quotas.take_bytes("a", 4 << 20).unwrap_err();
    assert_eq!((over.measure, over.retry_after), (Measure::BytesPerSecond, Duration::from_millis(500)));
    tokio::time::advance(Duration::from_millis(500)).await;
    assert_eq!(quotas.take_bytes("a", 4 << 20), Ok(()));
    assert_eq!(quotas.take_events("a", 1000, 0), Ok(()));
    assert!(quotas.take_events("a", 1, 0).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_request_of_the_largest_size_is_possible_at_some_time_whatever_the_rate() {
    let quotas = Quotas::new(Quota { events_per_second: 1, bytes_per_second: 1, bytes_queued: 0 }, true);
    let (events, bytes) = (MAX_BATCH_EVENTS as u64, MAX_BATCH_BYTES as u64);
    assert_eq!(quotas.take_bytes("a", bytes), Ok(()));
    assert_eq!(quotas.take_events("a", events, bytes), Ok(()));
    let over = quotas.take_events("a", events, 0).unwrap_err();
    assert_eq!(over.retry_after, Duration::from_secs(1000));
    tokio::time::advance(over.retry_after).await;
    assert_eq!(quotas.take_events("a", events, 0), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn who_has_no_room_for_events_pays_no_bytes() {
    let quotas = Quotas::new(FLAGS, true);
    quotas.take_events("a", 2000, 0).unwrap();
    for _ in 0..10 {
        assert_eq!(quotas.take_bytes("a", 4 << 20), Ok(()));
        assert!(quotas.take_events("a", 1, 4 << 20).is_err());
    }
    quotas.take_bytes("a", 4 << 20).unwrap();
    quotas.give_back_bytes("a", 1 << 20);
    assert_eq!(quotas.take_bytes("a", 5 << 20), Ok(()));
    assert!(quotas.take_bytes("a", 1).is_err());
}

#[tokio::test(start_paused = true)]
async fn an_annotation_counts_at_once_and_until_it_is_gone() {
    let quotas = Quotas::new(FLAGS, true);
    quotas.set("a", Some(annotated("3")));
    assert_eq!(quotas.of("a"), Quota { events_per_second: 3, ..FLAGS });
    assert_eq!(quotas.of("b"), FLAGS);
    quotas.set("a", Some(annotated("many")));
    assert_eq!(quotas.of("a"), FLAGS);
    quotas.set("a", Some(annotated("0")));
    for _ in 0..10 {
        assert_eq!(quotas.take_events("a", 1000, 0), Ok(()), "0 is no limit");
    }
    for gone in [Some(Overrides::default()), None] {
        quotas.set("a", Some(annotated("3")));
        quotas.set("a", gone);
        assert_eq!(quotas.of("a"), FLAGS);
        assert!(quotas.locked(|state, _| state.overrides.is_empty()));
    }
}

#[tokio::test(start_paused = true)]
async fn names_of_namespaces_do_not_pile_up() {
    let quotas = Quotas::new(FLAGS, true);
    for number in 0..5000 {
        quotas.take_events(&format!("n{number}"), 20, 0).unwrap();
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    assert!(quotas.locked(|state, _| state.used.len()) <= 1025);
    for number in 0..MOST_NAMESPACES + 100 {
        quotas.take_events(&format!("m{number}"), 2000, 0).unwrap_or_default();
    }
    assert!(quotas.locked(|state, _| state.used.len()) <= MOST_NAMESPACES + 1);
    assert!(quotas.take_events("one-more", 2000, 0).is_err(), "those beyond share");
    assert!(quotas.take_events("m0", 1, 0).is_err(), "nobody's use is forgotten");
}

#[tokio::test]
async fn the_refusal_says_which_quota_and_how_it_is_raised() {
    let text = |annotations| Quotas::new(FLAGS, annotations).full("identity", FLAGS).to_string();
    assert_eq!(
        text(true),
        "the namespace \"identity\" is over its quota of 100 bytes of events that wait for delivery; send the whole \
         request again later, or have an administrator raise the quota by the annotation herald.dev/quota-bytes-queued \
         of the Namespace, or by Herald's flag --quota-bytes-queued"
    );
    assert!(!text(false).contains("annotation"));
}
