//! What is acknowledged is on the disks: servers that do not say so are refused, or told of.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use reqwest::Url;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::gauges::scraped;
use super::nats::{Cluster, Server};
use super::{SOON, opened, soon, store, webhook};
use crate::journal::jetstream::durability::Monitoring;
use crate::journal::jetstream::durability::ask::Asker;
use crate::journal::jetstream::durability::verdict::Syncing;
use crate::journal::jetstream::{Config, Durability, JetStream, OpenError};
use crate::model::Clock;

/// Asks these servers, without much patience, and again all the time.
fn asking<'s>(servers: impl IntoIterator<Item = &'s Server>, config: Config) -> Config {
    let urls = servers.into_iter().map(|server| server.monitoring().parse().expect("a URL")).collect();
    let (patience, every) = (Duration::from_millis(1500), Duration::from_millis(50));
    Config { durability: Durability::Checked(Monitoring { urls, patience, every }), ..config }
}

async fn refused(config: Config) -> OpenError {
    match soon(Box::pin(JetStream::open(config, Clock::default()))).await {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

/// A server of something else, that says more than anybody wants to know.
async fn endless() -> (Url, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/base", listener.local_addr().expect("bound")).parse().expect("a URL");
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut asked = [0; 1000];
        let length = stream.read(&mut asked).await.expect("a request");
        assert!(asked[..length].starts_with(b"GET /base/varz "), "{}", asked[..length].escape_ascii());
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("sent");
        while stream.write_all(&[b' '; 10_000]).await.is_ok() {}
    });
    (url, serving)
}

/// Waits until the metric of how servers sync says this of them.
async fn told(journal: &JetStream, expected: &[(&str, u8)]) {
    const METRIC: &str = "herald_journal_nats_sync_always";
    let mut expected: Vec<_> =
        expected.iter().map(|(server, always)| format!("{METRIC}{{server=\"{server}\"}} {always}")).collect();
    expected.sort();
    let mut found = Vec::new();
    let told = async {
        // It is looked at again by itself.
        while found != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
            found = scraped(journal, METRIC);
            found.sort();
        }
    };
    let in_time = tokio::time::timeout(SOON, told).await;
    assert!(in_time.is_ok(), "{found:?} is not {expected:?}");
}

#[tokio::test]
async fn a_server_that_acknowledges_before_it_syncs_is_refused_by_name_with_what_to_write() {
    let mut server = Server::start();
    let config = asking([&server], Config { replicas: 1, ..Config::new(server.url()) });
    opened(config.clone()).await;
    server.kill();
    server.sync("30s");
    server.restart();
    let said = refused(config.clone()).await.to_string();
    let at = server.monitoring().replace("http://", "");
    assert!(said.contains(&at) && said.contains("syncs every 30s"), "{said}");
    assert!(said.contains("write `jetstream { sync_interval: always }`"), "{said}");
    // Whoever wants it so, says so.
    opened(Config { durability: Durability::Unchecked, ..config }).await;
}

#[tokio::test]
async fn one_of_three_is_enough_to_be_refused_and_each_of_them_has_to_be_named() {
    let mut cluster = Cluster::start();
    let config = Config::new(cluster.urls());
    let some = asking(&cluster.servers[..1], config.clone());
    let said = refused(some).await.to_string();
    assert!(said.contains("of the 3 servers of NATS that are to keep HERALD_"), "{said}");
    assert!(said.contains("1 said that they sync each write") && said.contains("n1, n2"), "{said}");
    assert!(said.contains("have --nats-monitoring lead to every server"), "{said}");
    let all = asking(&cluster.servers, config);
    let journal = opened(all.clone()).await;
    told(&journal, &[("n0", 1), ("n1", 1), ("n2", 1)]).await;
    cluster.servers[2].kill();
    cluster.servers[2].sync("2m");
    cluster.servers[2].restart();
    let said = refused(all).await.to_string();
    assert!(said.contains("the server n2 of NATS") && said.contains("syncs every 120s"), "{said}");
}

#[tokio::test]
async fn a_server_that_is_away_is_not_waited_for_and_is_told_of_when_it_comes_back_otherwise() {
    let mut cluster = Cluster::start();
    let config = asking(&cluster.servers, Config::new(cluster.urls()));
    // The streams are there, on all three.
    let first = opened(config.clone()).await;
    store(&first, 0..10, &[webhook(0)]).await;
    cluster.servers[1].kill();
    let journal = opened(config).await;
    told(&journal, &[("n0", 1), ("n2", 1)]).await;
    store(&journal, 10..20, &[webhook(0)]).await;
    cluster.servers[1].sync("2m");
    cluster.servers[1].restart();
    told(&journal, &[("n0", 1), ("n1", 0), ("n2", 1)]).await;
    // What it does then is the administrator's to say.
    store(&journal, 20..30, &[webhook(0)]).await;
}

#[tokio::test]
async fn of_a_name_each_address_is_asked_and_what_is_no_server_of_nats_is_said() {
    let mut good = Server::start();
    let port = good.monitoring().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let wrong = Server::beside(&good, "2m");
    let asker = Asker::new(None).expect("an asker");
    let url = format!("http://nats-headless.test:{port}").parse().expect("a URL");
    let at = |last: u8| SocketAddr::from(([127, 0, 0, last], port));
    let mut answers = soon(asker.ask_each(&url, [at(1), at(2), at(3)])).await;
    let nobody = answers.pop().and_then(Result::err).expect("nobody is there");
    assert!(nobody.contains(&at(3).to_string()) && nobody.contains("refused"), "{nobody}");
    let syncing: Vec<_> = answers.into_iter().map(|answer| answer.expect("a server").syncing).collect();
    assert_eq!(syncing, [Syncing::Always, Syncing::Every(Duration::from_mins(2))]);
    drop(wrong);
    good.kill();

    // What a URL leads to may be anything.
    let (url, endless) = endless().await;
    let said = soon(asker.ask(&url)).await.pop().and_then(Result::err).expect("no server of NATS");
    assert!(said.contains("more than 1048576 bytes"), "{said}");
    soon(endless).await.expect("it was asked for what there is");
    assert!(Asker::new(Some(Path::new("/there/is/none"))).is_err());
}

#[tokio::test]
async fn by_https_the_authorities_that_are_named_are_trusted_and_no_others() {
    let made = rcgen::generate_simple_self_signed(["nats-headless.test".to_owned()]).expect("a certificate");
    let server = Server::with_certificate(&made.cert.pem(), &made.signing_key.serialize_pem());
    let url: Url = server.monitoring().replace("127.0.0.1", "nats-headless.test").parse().expect("a URL");
    let at = SocketAddr::from(([127, 0, 0, 1], url.port().expect("a port")));
    let folder = tempfile::tempdir().expect("a folder");
    let authorities = folder.path().join("ca.crt");
    std::fs::write(&authorities, made.cert.pem()).expect("a file");
    let trusting = Asker::new(Some(&authorities)).expect("an asker");
    let answer = soon(trusting.ask_each(&url, [at])).await.pop().expect("an answer");
    assert_eq!(answer.expect("a server").syncing, Syncing::Always);
    let other: Url = server.monitoring().parse().expect("a URL");
    let said = soon(trusting.ask(&other)).await.pop().and_then(Result::err).expect("another's certificate");
    assert!(said.contains("certificate not valid for name"), "{said}");
    let said = soon(Asker::new(None).expect("an asker").ask_each(&url, [at])).await;
    let said = said.into_iter().next().and_then(Result::err).expect("a stranger");
    assert!(said.contains("invalid peer certificate: UnknownIssuer"), "{said}");
    std::fs::write(&authorities, "none").expect("a file");
    assert!(Asker::new(Some(&authorities)).is_err(), "there is no certificate in it");
}
