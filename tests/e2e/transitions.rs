//! Random edits while the way to the API server is bad: in the end every
//! status says what the objects say, and a fresh start has nothing to add.
//!
//! ```text
//! seed ─> edits, good and bad ─> API server <── cut, late ── Herald
//!                                    │ calm
//!                                    v
//!            each status = what the objects alone give ─> Herald anew: writes nothing
//! ```
//!
//! `HERALD_TEST_SEED` plays one sequence again, `HERALD_TEST_SEQUENCES` says
//! how many there are. Which edits are made, and in which order, follows from
//! the seed; what Herald is at when one comes does not.
//!
//! **Does not do.** It sends no events and restarts no API server.

mod edits;
mod expected;

use std::sync::Arc;
use std::time::Duration;

use herald::api::Webhook;
use kube::ResourceExt as _;
use kube::api::ListParams;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use self::edits::Scene;
use self::expected::{is_settled, summary};
use crate::support::between::{Between, Disturbance, Mischief};
use crate::support::herald::Settings;
use crate::support::{Behaviour, Cluster, Herald, Namespace, webhook};

/// So many edits come before a comparison.
const EDITS: usize = 14;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the test runner shows it beside the panic")]
async fn after_any_edits_a_fresh_start_has_nothing_to_add() {
    let seeds: Vec<u64> = match number("HERALD_TEST_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("HERALD_TEST_SEQUENCES").unwrap_or(6)).map(|_| rand::random()).collect(),
    };
    for seed in seeds {
        println!("HERALD_TEST_SEED={seed}");
        sequence(seed).await;
    }
}

#[expect(clippy::print_stdout, reason = "the test runner shows it beside the panic")]
async fn sequence(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let cluster = Cluster::connect().await.reconnected();
    let namespace = cluster.namespace("transitions").await;
    let way = Arc::new(Disturbance::default());
    let between = Between::start(&cluster, Mischief::Disturbs(way.clone())).await;
    let by_way = cluster.by_way_of(&between.url());
    let mut scene = Scene::new(&namespace).await;
    let mut herald = Herald::start_at(by_way, &namespace, Settings::default()).await;
    for _ in 0..EDITS {
        let edit = scene.draw(&mut random);
        println!("  {edit:?}");
        scene.make(&namespace, edit).await;
        match random.random_range(0..6) {
            0 => way.cut(),
            1 => way.delay(Duration::from_millis(random.random_range(0..200))),
            2 => way.delay(Duration::ZERO),
            // Let Herald get somewhere, but not always.
            3 => tokio::time::sleep(Duration::from_millis(random.random_range(0..100))).await,
            _ => {}
        }
    }
    way.delay(Duration::ZERO);
    scene.endpoints.iter().for_each(|endpoint| endpoint.on_challenge(Behaviour::proof()));
    for name in scene.names() {
        let secret = scene.secret_of(name);
        namespace.await_webhook(name, |webhook| is_settled(webhook, secret)).await;
    }
    herald.stop().await;
    let before = states(&namespace).await;

    // What it does first to the newest object it has done to the others too, or it never will.
    let mut fresh = Herald::start(&namespace).await;
    namespace.secret("last", &[("api-key", "k")]).await;
    namespace.apply(&webhook("last", &scene.endpoints[0].uri())).await;
    namespace.await_condition("last", "Delivering", "True", "Delivering").await;
    fresh.stop().await;
    let mut after = states(&namespace).await;
    after.retain(|(name, ..)| name != "last");
    assert_eq!(after, before, "a fresh start has come to another state; HERALD_TEST_SEED={seed}");
}

/// Each Webhook's name, what its status says, and its version.
async fn states(namespace: &Namespace) -> Vec<(String, serde_json::Value, Option<String>)> {
    let list = namespace.api::<Webhook>().list(&ListParams::default()).await.unwrap();
    list.iter().map(|webhook| (webhook.name_any(), summary(webhook), webhook.resource_version())).collect()
}
