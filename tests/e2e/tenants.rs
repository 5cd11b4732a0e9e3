//! Two tenants, and one Herald: whatever A says to the API server and to Herald, in
//! whichever order, B's endpoints receive what B's events say, with B's key, once and in
//! order, and nothing else that has B's key or signature.
//!
//! ```text
//! A: every right in its namespace ─> Webhooks like B's, forged proofs, floods, hangs ──┐
//! A: no right in B's               ─> 403                                              ├─> Herald ─> B's endpoints
//! B: events, one by one ───────────────────────────────────────────────────────────────┘
//! ```
//!
//! A may have its own events sent to B's endpoint, which agrees to whatever asks it: they come with A's
//! key, and the key is what an endpoint tells callers apart by.
//!
//! `HERALD_TEST_SEED` plays one sequence again, `HERALD_TEST_SEQUENCES` says how many there are.

mod intruder;

use std::collections::BTreeMap;

use herald::api::{Webhook, WebhookStatus};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use self::intruder::{Intruder, NAMES};
use crate::delivery::{deliver_by, delivering_with};
use crate::support::webhook::{WebhookExt as _, condition};
use crate::support::{Cluster, Endpoint, HeraldProcess, Namespace, Operator, Producer, Received, number};

const CALLS: usize = 40;
const EVENTS: usize = 20;
const USERS: usize = 3;
const KEY: &str = "key";
const SIGNING: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the test runner shows it beside the panic")]
async fn no_calls_of_one_tenant_change_what_another_s_endpoints_receive() {
    let cluster = Cluster::connect().await;
    let seeds: Vec<u64> = match number("HERALD_TEST_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("HERALD_TEST_SEQUENCES").unwrap_or(2)).map(|_| rand::random()).collect(),
    };
    for seed in seeds {
        println!("HERALD_TEST_SEED={seed}");
        sequence(seed, &cluster.reconnected()).await;
    }
}

#[expect(clippy::print_stdout, reason = "the test runner shows it beside the panic")]
async fn sequence(seed: u64, cluster: &Cluster) {
    let mut random = StdRng::seed_from_u64(seed);
    let (a, b) = (cluster.namespace("tenant-a").await, cluster.namespace("tenant-b").await);
    let mut herald = HeraldProcess::start(&[&a, &b]).await;
    let bystander = Bystander::new(&b).await;
    let mut intruder = Intruder::new(&a, &b, &bystander.endpoints[0]).await;
    let before = states(&b).await;
    let mut sent = 0;
    for n in 0..CALLS {
        let call = Intruder::draw(&mut random);
        println!("  {call:?}");
        let proof = serde_json::to_value(&before[NAMES[0]].1).unwrap();
        intruder.make(&herald, call, &proof).await;
        // At the latest when A has had its say, all have been sent.
        while sent * CALLS < EVENTS * (n + 1) && random.random_bool(0.8) {
            bystander.send(&herald, sent).await;
            sent += 1;
        }
    }
    for n in sent..EVENTS {
        bystander.send(&herald, n).await;
    }
    for endpoint in &bystander.endpoints {
        received_all(endpoint).await;
    }
    assert_eq!(proofs(&states(&b).await), proofs(&before), "HERALD_TEST_SEED={seed}");
    bystander.sees_its_own(&herald).await;
    herald.stop().await;
    // What was on its way when A's last call was made has arrived now.
    for endpoint in &bystander.endpoints {
        received_once_and_in_order(endpoint);
    }
}

/// Tenant B.
struct Bystander {
    /// One for each of the names.
    endpoints: [Endpoint; 2],
    producer: Producer,
    operator: Operator,
    namespace: String,
}

impl Bystander {
    async fn new(namespace: &Namespace) -> Self {
        let endpoints = [Endpoint::start().await, Endpoint::start().await];
        namespace.secret("signing", &[("signing-secret", SIGNING)]).await;
        for (name, endpoint) in NAMES.into_iter().zip(&endpoints) {
            delivering_with(namespace, name, endpoint, |webhook| {
                deliver_by(webhook.signed_by("signing"), json!({"ordering": "PerUser"}))
            })
            .await;
        }
        let producer = Producer::new(namespace).await;
        let operator = Operator::with(namespace, "operator", &[("list", "userevents")]).await;
        Self { endpoints, producer, operator, namespace: namespace.name().to_owned() }
    }

    async fn send(&self, herald: &HeraldProcess, n: usize) {
        assert_eq!(self.producer.send(herald, &event_of("b", n, "B's")).await, 2, "webhooks matched");
    }

    /// The list of its deliveries has its own and no other.
    async fn sees_its_own(&self, herald: &HeraldProcess) {
        for name in NAMES {
            let list = self.operator.json(herald, &["events", "list", "--webhook", name]).await;
            let items = list.as_array().unwrap_or_else(|| panic!("{list}"));
            assert_eq!(items.len(), EVENTS, "{list:#}");
            let own = |item: &&Value| item["event"]["namespace"] == *self.namespace;
            assert_eq!(items.iter().filter(own).count(), EVENTS, "{list:#}");
        }
    }
}

/// Waits until as much as there is of B's has come.
async fn received_all(endpoint: &Endpoint) {
    let mut own = 0;
    while own < EVENTS {
        own += usize::from(is_of_b(&endpoint.next_delivery().await));
    }
}

fn received_once_and_in_order(endpoint: &Endpoint) {
    let deliveries = endpoint.deliveries();
    let (own, others): (Vec<_>, Vec<_>) = deliveries.iter().partition(|delivery| is_of_b(delivery));
    for delivery in others {
        assert_eq!(delivery.signature_of(SIGNING), None, "{delivery:?}");
        assert_ne!(delivery.header("x-api-key"), Some(KEY), "{delivery:?}");
    }
    let mut of_users: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for delivery in own {
        let n = delivery.json().pointer("/data/n").and_then(Value::as_u64).expect("data.n");
        let n = usize::try_from(n).unwrap();
        assert_eq!(delivery.signature_of(SIGNING), Some(0), "{delivery:?}");
        assert_eq!(delivery.header("herald-replay"), None);
        let event = event_of("b", n, "B's");
        let body = delivery.json();
        assert_eq!(body["id"], delivery.message_id());
        for member in ["type", "source", "subject", "data"] {
            assert_eq!(body[member], event[member], "{member}");
        }
        of_users.entry(n % USERS).or_default().push(n);
    }
    let expected = (0..USERS).map(|user| (user, (user..EVENTS).step_by(USERS).collect())).collect();
    assert_eq!(of_users, expected, "each once, and each user's in order");
}

fn is_of_b(delivery: &Received) -> bool {
    delivery.header("x-api-key") == Some(KEY)
}

/// Both tenants name their events alike.
fn event_of(tenant: &str, n: usize, run: &str) -> Value {
    let id = if tenant == "b" { format!("e-{n}") } else { format!("e-{}", n % EVENTS) };
    json!({
        "specversion": "1.0", "id": id, "source": "/idp", "type": "user.updated",
        "subject": format!("user-{}", n % USERS),
        "data": {"tenant": tenant, "n": n, "run": run},
    })
}

type States = BTreeMap<String, (Webhook, WebhookStatus)>;

async fn states(namespace: &Namespace) -> States {
    let list = namespace.api::<Webhook>().list(&kube::api::ListParams::default()).await.unwrap();
    let state = |webhook: Webhook| {
        let status = webhook.status.clone().unwrap();
        (webhook.metadata.name.clone().unwrap(), (webhook, status))
    };
    list.items.into_iter().map(state).collect()
}

/// What of the states A must not change.
fn proofs(states: &States) -> Vec<Value> {
    let proof = |(name, (webhook, status)): (&String, &(Webhook, WebhookStatus))| {
        let conditions = ["Ready", "Verified", "Delivering"].map(|type_| {
            let condition = condition(webhook, type_).unwrap();
            (condition.status.clone(), condition.reason.clone())
        });
        json!({"name": name, "spec": webhook.spec, "proof": status.verification, "conditions": conditions})
    };
    states.iter().map(proof).collect()
}
