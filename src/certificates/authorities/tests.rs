//! The life of a Secret.

use std::time::Duration;

use super::super::lifetimes::Lifetimes;
use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn make() -> Authority {
    Authority::make(&Lifetimes::default(), NOW).unwrap()
}

fn stored(authorities: &Authorities) -> Authorities {
    Authorities::read(Some(&authorities.data()))
}

fn text<'a>(data: &'a Data, key: &str) -> &'a str {
    data.get(key).map_or("", |value| std::str::from_utf8(&value.0).unwrap())
}

#[test]
fn a_generation_comes_and_goes_and_leaves_no_key_behind() {
    let mut authorities = Authorities::read(None);
    assert_eq!(authorities.observed().signing, Err(Loss::Missing));
    authorities.begin(make(), NOW);
    let mut authorities = stored(&authorities);
    let first = authorities.data();
    assert_eq!(authorities.bundle(), text(&first, CERTIFICATE));

    authorities.follow(make());
    let mut authorities = stored(&authorities);
    assert!(!authorities.is_next_published(NOW));
    let both = authorities.bundle();
    assert!(both.contains(text(&first, CERTIFICATE)) && both.matches("BEGIN").count() == 2);
    authorities.published(NOW);
    let mut authorities = stored(&authorities);
    assert!(authorities.is_next_published(NOW));
    assert!(!authorities.is_next_published(NOW.before(Duration::from_secs(1))), "it cannot be known yet");
    let next = authorities.data();

    authorities.switch(NOW);
    let mut authorities = stored(&authorities);
    let switched = authorities.data();
    assert_eq!(text(&switched, CERTIFICATE), text(&next, NEXT_CERTIFICATE));
    assert_eq!(text(&switched, KEY), text(&next, NEXT_KEY));
    assert_eq!(text(&switched, RETIRED), text(&first, CERTIFICATE));
    assert_eq!(switched.keys().collect::<Vec<_>>(), [CERTIFICATE, KEY, RETIRED]);
    assert!(!format!("{switched:?}").contains(text(&first, KEY)));
    assert_eq!(authorities.bundle(), both, "a switch changes no bundle");

    authorities.forget(NOW.after(Lifetimes::default().ca()));
    let authorities = stored(&authorities);
    assert_eq!(authorities.bundle(), text(&switched, CERTIFICATE));
}

#[test]
fn a_ca_without_its_key_is_trusted_to_its_end_but_signs_no_more() {
    let mut authorities = Authorities::read(None);
    authorities.begin(make(), NOW);
    let mut data = authorities.data();
    data.insert(KEY.to_owned(), ByteString(b"broken".to_vec()));
    let mut read = Authorities::read(Some(&data));
    assert!(read.observed().signing.is_err() && read.signing().is_none());
    read.begin(make(), NOW);
    assert!(read.bundle().contains(text(&data, CERTIFICATE)));
    assert_eq!(read.observed().retired.len(), 1);
}

#[test]
fn nonsense_is_lost_and_nothing_worse() {
    for nonsense in [
        "",
        "nonsense",
        "-----BEGIN CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let keys = [CERTIFICATE, KEY, NEXT_CERTIFICATE, NEXT_KEY, NEXT_PUBLISHED, RETIRED];
        let data = keys.map(|key| (key.to_owned(), ByteString(nonsense.as_bytes().to_vec()))).into();
        let read = Authorities::read(Some(&data));
        assert!(matches!(read.observed().signing, Err(Loss::Broken(_))), "{nonsense}");
        assert_eq!(read.bundle(), "", "{nonsense}");
    }
}
