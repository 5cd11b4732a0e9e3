//! Generations of CAs come and go under load.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use herald::certificates::Lifetimes;
use herald::model::{Clock, ManualClock, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use tokio::sync::RwLock;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::client::{client, send};
use super::installation::{Installation, settle};
use super::objects::{bundle, entry};
use super::server::Server;

const CLIENTS: u32 = 6;
const HOUR: Duration = Duration::from_hours(1);
const LEAD: Duration = Duration::from_hours(4);
const STEP: Duration = Duration::from_mins(20);
/// A certificate is mounted up to an hour after it was signed.
const STEPS_TO_A_MOUNT: u32 = 3;

/// A producer that reads its bundle as seldom as it may.
struct Producer {
    bundles: Api<ConfigMap>,
    name: String,
    clock: Clock,
    /// Held while the time passes, so that a bundle does not age under a request.
    gate: Arc<RwLock<()>>,
    read_at: Timestamp,
}

impl Producer {
    /// Sends until it is told to stop; says how often it did.
    async fn run(mut self, server: std::net::SocketAddr, stop: CancellationToken) -> u32 {
        let mut sent = 0;
        let mut trusting = client(&self.read().await, server, &self.clock);
        while !stop.is_cancelled() {
            let _time_stands_still = self.gate.read().await;
            let age = self.clock.now().since(self.read_at);
            if age >= LEAD {
                self.read_at = self.clock.now();
                trusting = client(&self.read().await, server, &self.clock);
            }
            let answer = send(&trusting, server).await;
            assert_eq!(answer.unwrap_or_else(|error| panic!("a bundle {age:?} old: {error:?}")), 202);
            sent += 1;
        }
        sent
    }

    async fn read(&self) -> String {
        bundle(&self.bundles.get(&self.name).await.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producers_that_read_their_bundle_once_a_lead_see_no_failure_over_generations_of_cas() {
    let time = ManualClock::new(Clock::default().now());
    let mut installation = Installation::of_one_namespace().await;
    installation.config.clock = time.clock();
    installation.config.lifetimes = Lifetimes::new(HOUR * 26, HOUR * 6, LEAD).unwrap();
    let mut keeper = installation.keeper();
    settle(&mut keeper).await;
    let secrets = installation.own.api::<Secret>();
    let server = Server::without_kubelet(&secrets, &installation.tls_name()).await;

    let (gate, stop) = (Arc::new(RwLock::new(())), CancellationToken::new());
    let mut producers = JoinSet::new();
    for number in 0..CLIENTS {
        let producer = Producer {
            bundles: installation.producer.api(),
            name: installation.ca_name(),
            clock: time.clock(),
            gate: gate.clone(),
            // Each reads at another time.
            read_at: time.now().before(LEAD * number / CLIENTS),
        };
        producers.spawn(producer.run(server.address, stop.clone()));
    }

    let first = entry(&secrets.get(&installation.ca_name()).await.unwrap(), "ca.crt");
    let (mut cas, mut certificates) = (BTreeSet::new(), BTreeSet::new());
    for step in 0.. {
        settle(&mut keeper).await;
        let tls = secrets.get(&installation.tls_name()).await.unwrap();
        // The newest bundle, while what was signed before is still served.
        let newest = client(&entry(&tls, "ca.crt"), server.address, &time.clock());
        assert_eq!(send(&newest, server.address).await.unwrap(), 202);
        if step % STEPS_TO_A_MOUNT == 0 {
            server.mount(&tls).await;
        }
        cas.insert(entry(&secrets.get(&installation.ca_name()).await.unwrap(), "ca.crt"));
        certificates.insert(entry(&tls, "tls.crt"));
        if cas.len() >= 3 && !entry(&tls, "ca.crt").contains(&first) {
            break;
        }
        assert!(producers.try_join_next().is_none(), "a producer gave up");
        let _nobody_sends = gate.write().await;
        time.advance(STEP);
    }
    stop.cancel();
    let sent = producers.join_all().await;
    assert!(sent.iter().all(|sent| *sent > 20), "{sent:?}");
    assert!(certificates.len() >= 6, "{}", certificates.len());
}
