//! Renewal, with files that a test writes.

use std::path::Path;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::*;

fn write(directory: &Path) -> Vec<u8> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(directory.join("tls.crt"), made.cert.pem()).unwrap();
    std::fs::write(directory.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().to_vec()
}

fn files(directory: &Path) -> TlsFiles {
    TlsFiles {
        certificate: directory.join("tls.crt"),
        key: directory.join("tls.key"),
        every: Duration::from_secs(1),
    }
}

#[tokio::test]
async fn a_new_pair_is_taken_up_and_a_broken_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path());
    let metrics = Metrics::default();
    let (mut renewal, mut current) = Renewal::start(files(directory.path()), metrics).await.unwrap();

    renewal.look().await.unwrap();
    assert!(!current.has_changed().unwrap(), "nothing has changed");

    // The certificate without its key: what a reader sees between two writes.
    let old_key = std::fs::read(directory.path().join("tls.key")).unwrap();
    write(directory.path());
    let new_key = std::fs::read(directory.path().join("tls.key")).unwrap();
    std::fs::write(directory.path().join("tls.key"), old_key).unwrap();
    let verdict = renewal.look().await;
    assert!(matches!(verdict, Err(TlsError::Pair(_))), "{verdict:?}");
    renewal.look().await.unwrap();
    assert!(!current.has_changed().unwrap(), "the same broken pair is judged once, and not used");

    std::fs::write(directory.path().join("tls.key"), new_key).unwrap();
    renewal.look().await.unwrap();
    assert!(current.has_changed().unwrap());
    current.mark_unchanged();

    std::fs::write(directory.path().join("tls.crt"), "not PEM").unwrap();
    let verdict = renewal.look().await;
    assert!(verdict.is_err(), "{verdict:?}");
    std::fs::remove_file(directory.path().join("tls.key")).unwrap();
    let verdict = renewal.look().await;
    assert!(matches!(verdict, Err(TlsError::Read { .. })), "{verdict:?}");
    assert!(!current.has_changed().unwrap());
}

#[tokio::test]
async fn without_a_usable_pair_there_is_no_start() {
    let directory = tempfile::tempdir().unwrap();
    let missing = Renewal::start(files(directory.path()), Metrics::default()).await.map(|_| ());
    assert!(matches!(&missing, Err(TlsError::Read { .. })), "{missing:?}");
    write(directory.path());
    std::fs::write(directory.path().join("tls.key"), "").unwrap();
    let empty = Renewal::start(files(directory.path()), Metrics::default()).await.map(|_| ());
    assert!(matches!(&empty, Err(TlsError::Pem { .. })), "{empty:?}");
}

#[test]
fn the_end_is_read_in_both_notations_of_time_and_of_no_broken_certificate() {
    for (year, expected) in [(2031, 1_924_992_000), (2049, 2_493_072_000), (2055, 2_682_374_400)] {
        let mut params = CertificateParams::new(vec!["herald.test".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let der = certificate.der().to_vec();
        assert_eq!(not_after(&der), Some(expected), "{year}");
        for end in 0..der.len() {
            assert_eq!(not_after(&der[..end]), None, "{end}");
        }
        for position in 0..der.len() {
            let mut changed = der.clone();
            changed[position] ^= 0xff;
            // Any answer will do, if only there is one.
            let _ = not_after(&changed);
        }
    }
}
