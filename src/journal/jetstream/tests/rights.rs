//! What the user of NATS in `charts/values/nats.yaml` may do is enough.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::nats::Server;
use super::{opened, soon, store, webhook};
use crate::journal::inspect::{AttemptFilter, KeptFilter};
use crate::journal::jetstream::import::Import;
use crate::journal::jetstream::{Config, Credentials, JetStream};
use crate::journal::limits::{Bounds, Limits};
use crate::journal::{DeathNote, Inspect, Journal, Lane, Lease, Outcome};
use crate::model::{Clock, EventKey, Ordering, Timestamp, WebhookUid};

/// Of nobody else.
const SEED: &str = "SUAGUA7LWKI6EA3KNR7CMJIW6NIJWVMV4I53P3CU7CPS4FGKUFGST3HWDA";
const PUBLIC: &str = "UBGYIH2YS3KIIMBC2EU4WFLKKJ6DXICG6ZYFFRF6V3KZ5OOIBHM53BSY";

/// The account of the values, with that key.
fn accounts() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/values/nats.yaml");
    let values: Value =
        serde_saphyr::from_str(&std::fs::read_to_string(path).expect("values")).expect("YAML");
    let mut account = values["config"]["merge"]["accounts"]["HERALD"].clone();
    let users = account["users"].as_array_mut().expect("users");
    assert_eq!(users.len(), 1);
    users[0]["nkey"] = json!(PUBLIC);
    format!("accounts: {}\n", json!({"HERALD": account}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_in_the_values_for_nats_suffice_for_all_that_dispatchers_do() {
    let server = Server::start_with(&accounts());
    let mut seed = tempfile::NamedTempFile::new().expect("a file");
    writeln!(seed, "{SEED}").expect("written");
    let credentials = Credentials { file: None, nkey: Some(seed.path().to_owned()) };
    let config = Config {
        replicas: 1,
        credentials,
        snapshot_every: 40,
        sweep: Duration::from_millis(50),
        recent_bytes: 0,
        limits: Limits { events: Bounds { bytes: 0, age: Duration::ZERO }, ..Limits::default() },
        ..Config::new(server.url())
    };
    let first = opened(config.clone()).await;
    let held = webhook(1);
    store(&first, 0..10, &[held]).await;
    // It has the streams changed, and reads what the first has written.
    let attempts = Bounds { age: Duration::from_hours(1), ..config.limits.attempts };
    let limits = Limits { attempts, ..config.limits };
    let second = opened(Config { limits, ..config.clone() }).await;
    let both = [&first, &second];
    let claimed = async {
        loop {
            for journal in both {
                if let Ok(lane) = journal.claim(held, Ordering::None).await {
                    return lane;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut lane = soon(claimed).await;
    let note = DeathNote { reason: "Refused".to_owned(), message: "no".to_owned() };
    let lease = soon(lane.next(1)).await.expect("a lease").remove(0);
    lease.settle(Outcome::Dead(note)).await;
    drop(lane);
    // So much that the log is shortened, and what waits is written once more.
    for number in 10..700 {
        store(&first, number..number + 1, &[]).await;
    }
    soon(async {
        while first.0.core.log.first().await.expect("it answers") < 100 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    for journal in both {
        soon(async {
            while journal.dead_letters(held, None, 10).await.expect("read").items.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        assert_eq!(soon(journal.pending(held, None, 20)).await.expect("read").items.len(), 9);
        let (namespace, since) = ("identity".to_owned(), Timestamp::from_millis(0));
        let of = KeptFilter { namespace: namespace.clone(), webhook: None, id: None, since };
        soon(journal.kept(of, None, 10)).await.expect("read");
        let of = AttemptFilter { namespace, webhook: None, id: None, since };
        soon(journal.attempts(of, None, 10)).await.expect("read");
    }
    asked(both).await;
    let import = soon(Box::pin(Import::open(config, Clock::default()))).await.expect("it opens");
    soon(import.ready()).await.expect("it was read");
    soon(import.put_ids("identity", &[EventKey::from_bytes([9; 16])])).await.expect("it is written");
    for journal in [first, second] {
        soon(journal.close()).await.expect("closed");
    }
    let refused: Vec<_> =
        server.log().lines().filter(|line| line.contains("Violation")).map(str::to_owned).collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

/// Whichever does not run a lane asks the other.
async fn asked(both: [&JetStream; 2]) {
    let spread = async {
        loop {
            for (asking, asked) in [(both[0], both[1]), (both[1], both[0])] {
                let ran = |webhook: &WebhookUid| asked.runs(*webhook) && !asking.runs(*webhook);
                if let Some(webhook) = (0..64).map(webhook).find(ran) {
                    return (asking, asked, webhook);
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (asking, asked, webhook) = soon(spread).await;
    let question = asking.ask(webhook, Bytes::from_static(b"well?"), Duration::from_mins(1));
    let answering = async { soon(asked.asked()).await.answer(Bytes::from_static(b"yes")) };
    let (answer, ()) = tokio::join!(soon(question), answering);
    assert_eq!(answer.as_deref(), Ok(&b"yes"[..]));
}
