//! Herald for many minutes under a steady load, with endpoints that fail and
//! recover and restarts between: nothing may be lost, and nothing may grow.
//!
//! ```text
//! producer ──TLS──> herald run ──TLS──> endpoints with moods ──> ledger
//!                       ^                    ^
//!            SIGTERM, SIGKILL           500, no answer, reset, 410
//!                       └──── the weather ───┘   and Replays of what died
//! ```
//!
//! **Guarantees.** It fails if an acknowledged event is neither received nor a
//! dead letter, for any webhook, or if memory, disk, descriptors or threads of
//! Herald grow from the second quarter to the last beyond `samples::MEASURES`.
//!
//! **Does not.** The seed gives the same weather at the same times; what meets
//! what in Herald is not repeated by it.

mod samples;
mod weather;

use std::time::{Duration, Instant};

use herald::api::{Replay, Webhook};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use self::samples::{Sample, Samples};
use self::weather::{Act, Weather};
use super::endpoint::{Endpoint, Mood};
use super::ledger::{Ledger, dead_letters};
use super::producer::Producer;
use super::program::{Herald, journal_directory};
use super::server::Bench;
use super::settings;
use super::support::machine::disk_bytes;
use super::webhooks::{Alike, DEFAULT_IN_FLIGHT};

const ENDPOINTS: usize = 6;
/// Events a second; each goes to every endpoint.
const RATE: f64 = 300.0;
const SAMPLE_EVERY: Duration = Duration::from_secs(3);
/// How long the rest may take once all endpoints are well.
const LIMIT: Duration = Duration::from_mins(3);
/// So small that they are reached in the first quarter.
const BOUNDS: [&str; 6] =
    ["--max-kept-bytes", "4194304", "--max-attempt-bytes", "4194304", "--dedupe-ids", "5000"];

/// Runs it, prints its tables, and panics if they are not good.
pub async fn run() {
    let (length, seed) = (settings::soak(), settings::seed());
    println!("soak: {:.1} minutes, SEED={seed}", length.as_secs_f64() / 60.0);
    let bench = Bench::start().await;
    let mut endpoints = Vec::new();
    for number in 0..ENDPOINTS {
        let endpoint = Endpoint::start(&bench.files).await;
        let healthy = Alike::healthy(&format!("soak-{number}"), 1, DEFAULT_IN_FLIGHT, endpoint.port);
        let delivery =
            json!({ "timeout": "1s", "maxAttempts": 3, "backoff": { "initial": "1s", "max": "5s" } });
        bench.cluster.make(&Alike { delivery, ..healthy }).await;
        endpoints.push(endpoint);
    }
    let mut soak =
        Soak { herald: Some(start(&bench)), bench, endpoints, stops: 0, kills: 0, slowest: Duration::ZERO };
    soak.bench.cluster.all_have("Delivering", "True").await;

    let run = uuid::Uuid::new_v4().simple().to_string();
    let producer = Producer::start(&soak.bench, &run, &[soak.herald().port], 0, RATE);
    let samples = soak.through(Weather::new(seed, ENDPOINTS), length, &producer).await;
    let sent = producer.end().await;
    let after = soak.recover(sent.accepted).await;
    let port = soak.herald().port;
    let dead = |number| dead_letters(&soak.bench, port, &name(number));
    let ledger = Ledger::close(&soak.endpoints, sent.accepted, dead);
    println!("\n{ledger}\n{samples}");
    println!(
        "{} restarts by SIGTERM, {} by SIGKILL; ready again after {:.1} s at most. {} posts were made again, \
         an event was accepted after {:.1} s at most. All was settled {:.0} s after the last event. SEED={seed}",
        soak.stops,
        soak.kills,
        soak.slowest.as_secs_f64(),
        sent.again,
        sent.longest.as_secs_f64(),
        after.as_secs_f64(),
    );
    soak.end().await;
    let grown = samples.grown();
    assert!(ledger.lost == 0 && grown.is_empty(), "lost {}; grown: {grown:?}", ledger.lost);
}

struct Soak {
    bench: Bench,
    endpoints: Vec<Endpoint>,
    /// None while there is none.
    herald: Option<Herald>,
    stops: u32,
    kills: u32,
    /// The longest that a start took.
    slowest: Duration,
}

fn start(bench: &Bench) -> Herald {
    let mut flags = vec!["--namespace", &bench.cluster.namespace];
    flags.extend(BOUNDS);
    Herald::start_with(bench, "soak", &flags)
}

/// The webhook of an endpoint.
fn name(number: usize) -> String {
    format!("soak-{number}-0")
}

impl Soak {
    fn herald(&self) -> &Herald {
        self.herald.as_ref().unwrap()
    }

    /// The time of the load.
    async fn through(&mut self, mut weather: Weather, length: Duration, producer: &Producer) -> Samples {
        let begun = Instant::now();
        let mut samples = Samples::default();
        let mut next_sample = Duration::ZERO;
        while begun.elapsed() < length {
            let now = begun.elapsed();
            for act in weather.due(now) {
                println!("{:7.1} s  {act:?}", now.as_secs_f64());
                self.carry_out(act, producer).await;
            }
            if begun.elapsed() >= next_sample {
                next_sample = begun.elapsed() + SAMPLE_EVERY;
                let disk_mb = disk_bytes(&journal_directory(&self.bench, "soak")) as f64 / 1e6;
                let at = begun.elapsed().as_secs_f64() / length.as_secs_f64();
                samples.push(Sample { at, held: self.herald().process.held(), disk_mb });
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        samples
    }

    async fn carry_out(&mut self, act: Act, producer: &Producer) {
        match act {
            Act::Mood(number, mood) => self.endpoints[number].be(mood),
            Act::Prove(number) => self.prove(number).await,
            Act::Replay => self.replay().await,
            Act::Stop => {
                self.stops += 1;
                self.herald.take().unwrap().stop();
                self.start_again(producer);
            }
            Act::Kill => {
                self.kills += 1;
                self.herald.take().unwrap().kill();
                self.start_again(producer);
            }
        }
    }

    fn start_again(&mut self, producer: &Producer) {
        let herald = start(&self.bench);
        producer.moved(0, herald.port);
        self.slowest = self.slowest.max(herald.ready_after);
        self.herald = Some(herald);
    }

    /// Has a webhook verified again.
    async fn prove(&self, number: usize) {
        let now = uuid::Uuid::new_v4().to_string();
        let patch = json!({ "metadata": { "annotations": { "herald.dev/verify-requested-at": now } } });
        let api: Api<Webhook> = self.bench.cluster.api();
        api.patch(&name(number), &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Applies a Replay of the dead letters of each webhook that has none that runs.
    async fn replay(&self) {
        let cluster = &self.bench.cluster;
        let api: Api<Replay> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let there = api.list(&ListParams::default()).await.unwrap().items;
        let runs = |webhook: &str| {
            let finished = |replay: &Replay| replay.status.as_ref().is_some_and(|s| s.finish_time.is_some());
            there.iter().any(|replay| replay.spec.webhook == webhook && !finished(replay))
        };
        for webhook in (0..ENDPOINTS).map(name).filter(|webhook| !runs(webhook)) {
            cluster
                .create::<Replay>(json!({
                    "apiVersion": "herald.dev/v1alpha1",
                    "kind": "Replay",
                    "metadata": { "name": format!("{webhook}-{}", uuid::Uuid::new_v4()) },
                    "spec": { "webhook": webhook, "ttlSecondsAfterFinished": 5 },
                }))
                .await;
        }
    }

    /// All endpoints are well: waits until everything has arrived, and says
    /// how long that took; what has not arrived by then is the ledger's affair.
    async fn recover(&self, accepted: u64) -> Duration {
        let begun = Instant::now();
        for endpoint in &self.endpoints {
            endpoint.be(Mood::Takes);
        }
        let mut next = Duration::ZERO;
        while begun.elapsed() < LIMIT {
            let behind: Vec<usize> =
                (0..ENDPOINTS).filter(|&n| !self.endpoints[n].missing(0..accepted).is_empty()).collect();
            if behind.is_empty() {
                break;
            }
            if begun.elapsed() >= next {
                next = begun.elapsed() + Duration::from_secs(12);
                // A 410 that was on its way may have come after the last proof.
                for number in behind {
                    self.prove(number).await;
                }
                self.replay().await;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        begun.elapsed()
    }

    async fn end(mut self) {
        self.herald.take().unwrap().end(&self.bench, "soak").await;
    }
}
