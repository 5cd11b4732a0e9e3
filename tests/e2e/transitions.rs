//! Random edits and events while the way to the API server is bad and its
//! process ends: in the end every status says what the objects say, an event
//! goes where they say, and a fresh start has nothing to add.
//!
//! ```text
//! seed ─> edits, good and bad ─> API server <── cut, late, killed ── Herald <── events
//!                                    │ calm
//!                                    v
//!            each status = what the objects alone give ─> Herald anew: writes nothing
//! ```
//!
//! `HERALD_TEST_SEED` plays one sequence again, `HERALD_TEST_SEQUENCES` says
//! how many there are. Which edits are made, and in which order, follows from
//! the seed; what Herald is at when one comes does not.

mod edits;
mod expected;

use std::sync::Arc;
use std::time::Duration;

use herald::api::Webhook;
use kube::ResourceExt as _;
use kube::api::ListParams;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::timeout;

use self::edits::{Key, Scene};
use self::expected::{is_settled, summary};
use crate::support::between::{Between, Disturbance, Mischief};
use crate::support::control_plane::ControlPlane;
use crate::support::herald::{AUDIENCE, Settings};
use crate::support::{Cluster, Herald, Namespace, number, producer, webhook};

/// So many edits come before a comparison.
const EDITS: usize = 14;
/// The Webhook that a fresh start does the same to as to the others.
const LAST: &str = "last";
const ARRIVES: Duration = Duration::from_secs(30);

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the test runner shows it beside the panic")]
async fn after_any_edits_a_fresh_start_has_nothing_to_add() {
    let seeds: Vec<u64> = match number("HERALD_TEST_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("HERALD_TEST_SEQUENCES").unwrap_or(6)).map(|_| rand::random()).collect(),
    };
    // Its end would disturb the other tests.
    let control_plane = ControlPlane::start();
    let cluster = Cluster::connect_to(control_plane.kubeconfig()).await;
    for seed in seeds {
        println!("HERALD_TEST_SEED={seed}");
        sequence(seed, &control_plane, &cluster.reconnected()).await;
    }
}

#[expect(clippy::print_stdout, reason = "the test runner shows it beside the panic")]
async fn sequence(seed: u64, control_plane: &ControlPlane, cluster: &Cluster) {
    let mut random = StdRng::seed_from_u64(seed);
    let namespace = cluster.namespace("transitions").await;
    let way = Arc::new(Disturbance::default());
    let between = Between::start(cluster, Mischief::Disturbs(way.clone())).await;
    let by_way = cluster.by_way_of(&between.url());
    let mut scene = Scene::new(&namespace).await;
    let mut herald = Herald::start_at(by_way, &namespace, Settings::default()).await;
    let token = namespace.sender("producer", AUDIENCE).await;
    let ends_after = random.random_range(0..2 * EDITS);
    for n in 0..EDITS {
        let edit = scene.draw(&mut random);
        println!("  {edit:?}");
        scene.make(&namespace, edit).await;
        if n == ends_after {
            println!("  the API server ends");
            control_plane.restart_api_server(cluster).await;
        }
        match random.random_range(0..7) {
            0 => way.cut(),
            1 => way.delay(Duration::from_millis(random.random_range(0..200))),
            2 => way.delay(Duration::ZERO),
            // Let Herald get somewhere, but not always.
            3 => tokio::time::sleep(Duration::from_millis(random.random_range(0..100))).await,
            // While the API server is away or late it may be refused.
            4 => {
                let event = producer::event("user.created", &format!("during-{n}"));
                let (status, answer) = herald.post(&token, &event).await;
                println!("  an event: {status}");
                assert!([202, 503].contains(&status.as_u16()), "{status} {answer}");
            }
            _ => {}
        }
    }
    way.delay(Duration::ZERO);
    scene.end(&namespace).await;
    for name in scene.names() {
        let secret = scene.secret_of(name);
        namespace.await_webhook(name, |webhook| is_settled(webhook, secret)).await;
    }
    herald.stop().await;
    let before = states(&namespace).await;

    // What it does first to the newest object it has done to the others too, or it never will.
    herald.start_again().await;
    namespace.secret(LAST, &[("api-key", "k")]).await;
    namespace.apply(&webhook(LAST, &scene.endpoints[0].uri())).await;
    namespace.await_condition(LAST, "Delivering", "True", "Delivering").await;
    let mut after = states(&namespace).await;
    after.retain(|(name, _)| name != LAST);
    assert_eq!(after, before, "a fresh start has come to another state; HERALD_TEST_SEED={seed}");
    goes_where_it_should(&namespace, &scene, &herald, &token).await;
    herald.stop().await;
}

/// Sends an event, which has to be matched to each Webhook that is enabled, and
/// to arrive once for each of them whose Secret may be used.
async fn goes_where_it_should(namespace: &Namespace, scene: &Scene, herald: &Herald, token: &str) {
    let webhooks = namespace.api::<Webhook>().list(&ListParams::default()).await.unwrap();
    let enabled: Vec<_> = webhooks.iter().filter(|webhook| webhook.spec.enabled).collect();
    let may = |webhook: &&&Webhook| {
        let name = webhook.name_any();
        name == LAST || scene.secret_of(&name) == Key::Good
    };
    let mut want: Vec<_> = enabled.iter().filter(may).map(|webhook| webhook.spec.uri.clone()).collect();
    want.sort();
    let answer = herald.accepts(token, &producer::event("user.created", "last")).await;
    assert_eq!(answer["matched"], enabled.len(), "{answer}");
    let arrived = async {
        loop {
            let mut got = scene.deliveries_of("last");
            got.sort();
            if got.len() >= want.len() {
                break got;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let got = timeout(ARRIVES, arrived).await.unwrap_or_else(|_| panic!("it arrives at {want:?} in time"));
    assert_eq!(got, want, "where the event arrived");
}

/// Each Webhook's name, and what its status says.
async fn states(namespace: &Namespace) -> Vec<(String, serde_json::Value)> {
    let list = namespace.api::<Webhook>().list(&ListParams::default()).await.unwrap();
    list.iter().map(|webhook| (webhook.name_any(), summary(webhook))).collect()
}
