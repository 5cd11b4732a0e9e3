//! Renewal, with files that a test writes.

use std::path::Path;

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
