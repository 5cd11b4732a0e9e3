//! What is edited, and what is there then.

use herald::api::{VERIFY_REQUESTED_AT, Webhook};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::json;

use crate::support::{Behaviour, Endpoint, Namespace, webhook};

const NAMES: [&str; 2] = ["first", "second"];

/// The Secret of a Webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Good,
    Absent,
    Unlabelled,
    Empty,
    Malformed,
    Elsewhere,
}

/// How an endpoint answers challenges.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    Agrees,
    WrongKey,
    Fails,
    Gone,
    HangsUp,
}

/// How an endpoint answers events.
#[derive(Clone, Copy, Debug)]
pub(super) enum Taking {
    Takes,
    Fails,
    Gone,
}

/// One edit, of one of the two.
#[derive(Clone, Copy, Debug)]
pub(super) enum Edit {
    Create(usize),
    Delete(usize),
    /// To one of the two endpoints.
    Uri(usize, usize),
    Enabled(usize, bool),
    Events(usize),
    Timeout(usize),
    Verify(usize, u32),
    /// The API server has to refuse it.
    Bad(usize, &'static str),
    Key(usize, Key),
    Endpoint(usize, Answer),
    Deliveries(usize, Taking),
}

/// The objects and the endpoints.
pub(super) struct Scene {
    pub(super) endpoints: [Endpoint; 2],
    there: [bool; 2],
    keys: [Key; 2],
    /// An endpoint has said 410 to events.
    gone: bool,
}

impl Scene {
    /// With the first Webhook and its Secret.
    pub(super) async fn new(namespace: &Namespace) -> Self {
        let endpoints = [Endpoint::start().await, Endpoint::start().await];
        let mut scene = Self { endpoints, there: [false; 2], keys: [Key::Absent; 2], gone: false };
        scene.make(namespace, Edit::Key(0, Key::Good)).await;
        scene.make(namespace, Edit::Create(0)).await;
        scene
    }

    /// Those that are there.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        NAMES.into_iter().zip(self.there).filter_map(|(name, there)| there.then_some(name))
    }

    /// All is well with the endpoints from now on. One that said 410 to an event is asked again
    /// only if somebody wants it; where none did nothing is touched, so that nothing heals a
    /// Herald that has missed a change.
    pub(super) async fn end(&mut self, namespace: &Namespace) {
        for endpoint in &self.endpoints {
            endpoint.on_challenge(Behaviour::proof());
            endpoint.on_delivery(Behaviour::ok());
        }
        for which in 0..NAMES.len() {
            if self.gone && self.there[which] {
                self.make(namespace, Edit::Verify(which, 0)).await;
            }
        }
    }

    /// At which endpoints the event arrived.
    pub(super) fn deliveries_of(&self, event: &str) -> Vec<String> {
        let at = |endpoint: &Endpoint| {
            let of = endpoint.deliveries().into_iter().filter(|it| it.json()["data"]["id"] == event);
            vec![endpoint.uri(); of.count()]
        };
        self.endpoints.iter().flat_map(at).collect()
    }

    pub(super) fn secret_of(&self, name: &str) -> Key {
        self.keys[usize::from(name == NAMES[1])]
    }

    pub(super) fn draw(&self, random: &mut StdRng) -> Edit {
        let which = random.random_range(0..2);
        if !self.there[which] && random.random_bool(0.5) {
            return Edit::Create(which);
        }
        let key =
            [Key::Good, Key::Good, Key::Absent, Key::Unlabelled, Key::Empty, Key::Malformed, Key::Elsewhere];
        let answer = [Answer::Agrees, Answer::WrongKey, Answer::Fails, Answer::Gone, Answer::HangsUp];
        let taking = [Taking::Takes, Taking::Takes, Taking::Fails, Taking::Gone];
        if !self.there[which] || random.random_bool(0.3) {
            return match random.random_range(0..5) {
                0 | 1 => Edit::Key(which, key[random.random_range(0..key.len())]),
                2 | 3 => Edit::Endpoint(which, answer[random.random_range(0..answer.len())]),
                _ => Edit::Deliveries(which, taking[random.random_range(0..taking.len())]),
            };
        }
        match random.random_range(0..8) {
            0 => Edit::Delete(which),
            1 | 2 => Edit::Uri(which, random.random_range(0..2)),
            3 => Edit::Enabled(which, random.random_bool(0.5)),
            4 => Edit::Events(which),
            5 => Edit::Timeout(which),
            6 => Edit::Verify(which, random.random()),
            _ => Edit::Bad(which, ["uri", "events", "timeout"][random.random_range(0..3)]),
        }
    }

    pub(super) async fn make(&mut self, namespace: &Namespace, edit: Edit) {
        let spec = |spec| json!({"spec": spec});
        match edit {
            Edit::Create(which) => {
                namespace.apply(&webhook(NAMES[which], &self.endpoints[which].uri())).await;
                self.there[which] = true;
            }
            Edit::Delete(which) => {
                namespace.delete::<Webhook>(NAMES[which]).await;
                self.there[which] = false;
            }
            Edit::Uri(which, to) => {
                namespace.edit(NAMES[which], spec(json!({"uri": self.endpoints[to].uri()}))).await;
            }
            Edit::Enabled(which, enabled) => {
                namespace.edit(NAMES[which], spec(json!({"enabled": enabled}))).await;
            }
            Edit::Events(which) => {
                namespace.edit(NAMES[which], spec(json!({"events": ["User created"]}))).await;
            }
            Edit::Timeout(which) => {
                namespace.edit(NAMES[which], spec(json!({"delivery": {"timeout": "2s"}}))).await;
            }
            Edit::Verify(which, value) => {
                let annotations = json!({VERIFY_REQUESTED_AT: value.to_string()});
                namespace.edit(NAMES[which], json!({"metadata": {"annotations": annotations}})).await;
            }
            Edit::Bad(which, field) => {
                let bad = match field {
                    "uri" => json!({"uri": "http://hooks.example.com/"}),
                    "events" => json!({"events": ["User vanished"]}),
                    _ => json!({"delivery": {"timeout": "99s"}}),
                };
                let patch = Patch::Merge(spec(bad));
                let api = namespace.api::<Webhook>();
                let refused = api.patch(NAMES[which], &PatchParams::default(), &patch).await;
                assert!(refused.is_err(), "{field} was taken");
            }
            Edit::Key(which, key) => self.store(namespace, which, key).await,
            Edit::Endpoint(which, answer) => self.endpoints[which].on_challenge(match answer {
                Answer::Agrees => Behaviour::proof(),
                Answer::WrongKey => Behaviour::wrong_key(),
                Answer::Fails => Behaviour::status(500),
                Answer::Gone => Behaviour::status(410),
                Answer::HangsUp => Behaviour::hang_up(),
            }),
            Edit::Deliveries(which, taking) => {
                self.gone |= matches!(taking, Taking::Gone);
                self.endpoints[which].on_delivery(match taking {
                    Taking::Takes => Behaviour::ok(),
                    Taking::Fails => Behaviour::status(500),
                    Taking::Gone => Behaviour::status(410),
                });
            }
        }
    }

    /// A Secret that is stored is another object: so no label or key is left of the one before.
    async fn store(&mut self, namespace: &Namespace, which: usize, key: Key) {
        let name = NAMES[which];
        if self.keys[which] != Key::Absent {
            namespace.delete::<Secret>(name).await;
        }
        match key {
            Key::Absent => {}
            Key::Good => drop(namespace.secret(name, &[("api-key", "k")]).await),
            Key::Unlabelled => drop(namespace.unlabelled_secret(name, &[("api-key", "k")]).await),
            Key::Empty => drop(namespace.secret(name, &[("api-key", "")]).await),
            Key::Malformed => drop(namespace.secret(name, &[("api-key", "a\nb")]).await),
            Key::Elsewhere => drop(namespace.secret(name, &[("other", "k")]).await),
        }
        self.keys[which] = key;
    }
}
