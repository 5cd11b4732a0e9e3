//! What is held, and where it goes when it no longer is.

use std::net::SocketAddr;
use std::time::Duration;

use herald::api::{DeliveringReason, Webhook};
use herald::subscriptions::{Proof, View};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::{deliver_by, id_of, ids_of};
use crate::support::webhook::{WebhookExt as _, condition};
use crate::support::{Behaviour, Cluster, DEADLINE, Dispatcher, Endpoint, webhook};

#[tokio::test]
async fn a_disabled_webhook_gets_nothing_until_it_is_enabled_again() {
    let namespace = Cluster::connect().await.namespace("disabled").await;
    let (endpoint, other) = (Endpoint::start().await, Endpoint::start().await);
    let dispatcher = Dispatcher::start(&namespace).await;
    dispatcher.proved("audit", &endpoint).await;
    dispatcher.proved("other", &other).await;
    for endpoint in [&endpoint, &other] {
        endpoint.on_next_deliveries([Behaviour::status(500)]);
    }
    assert_eq!(dispatcher.accept("before").await, 2);
    dispatcher.await_retries(2).await;

    let webhook = namespace.edit("audit", json!({"spec": {"enabled": false}})).await;
    dispatcher.await_held(&webhook, DeliveringReason::Disabled).await;
    assert_eq!(dispatcher.accept("meanwhile").await, 1, "it is matched to the enabled one alone");
    dispatcher.clock.advance(Duration::from_secs(10));
    let mut others = ids_of(&[other.next_delivery().await, other.next_delivery().await]);
    others.push(id_of(&other.next_delivery().await));
    others.sort();
    assert_eq!(others, ["before", "before", "meanwhile"]);
    dispatcher.let_others_go_first().await;
    assert_eq!(endpoint.deliveries().len(), 1, "only the first attempt, when it was enabled");

    namespace.edit("audit", json!({"spec": {"enabled": true}})).await;
    endpoint.next_delivery().await;
    assert_eq!(id_of(&endpoint.next_delivery().await), "before");
    dispatcher.accept("after").await;
    assert_eq!(id_of(&endpoint.next_delivery().await), "after", "what was not matched never comes");
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_secret_that_goes_and_comes_back_loses_nothing() {
    let namespace = Cluster::connect().await.namespace("secret").await;
    let endpoint = Endpoint::start().await;
    let dispatcher = Dispatcher::start(&namespace).await;
    let webhook = dispatcher.proved("audit", &endpoint).await;
    for round in 0..3 {
        // Gone, or no longer labelled: to the dispatcher it is the same.
        if round == 1 {
            namespace.unlabel_secret("audit").await;
        } else {
            namespace.delete::<Secret>("audit").await;
        }
        dispatcher.await_held(&webhook, DeliveringReason::SecretsUnresolved).await;
        let events = [format!("{round}-a"), format!("{round}-b")];
        for event in &events {
            assert_eq!(dispatcher.accept(event).await, 1, "a Secret has no part in matching");
        }
        namespace.await_condition("audit", "Delivering", "False", "SecretsUnresolved").await;
        dispatcher.let_others_go_first().await;
        assert_eq!(endpoint.deliveries().len(), 2 * round);
        let key = format!("key-{round}");
        namespace.secret("audit", &[("api-key", &key)]).await;
        let received = [endpoint.next_delivery().await, endpoint.next_delivery().await];
        assert!(received.iter().all(|delivery| delivery.header("x-api-key") == Some(&key)));
        let mut ids = ids_of(&received);
        ids.sort();
        assert_eq!(ids, events);
    }
    namespace.await_condition("audit", "Delivering", "True", "Delivering").await;
    dispatcher.stop().await;
}

#[tokio::test]
async fn an_edited_uri_holds_until_it_is_proved_and_then_takes_what_was_held() {
    let namespace = Cluster::connect().await.namespace("edited").await;
    let (old, new) = (Endpoint::start().await, Endpoint::start().await);
    let dispatcher = Dispatcher::start(&namespace).await;
    dispatcher.proved("audit", &old).await;
    old.on_next_deliveries([Behaviour::status(500)]);
    dispatcher.accept("tried").await;
    dispatcher.await_retries(1).await;
    let webhook = namespace.edit("audit", json!({"spec": {"uri": new.uri()}})).await;
    dispatcher.await_held(&webhook, DeliveringReason::NotVerified).await;
    assert_eq!(dispatcher.accept("held").await, 1, "it has been proved once");
    dispatcher.clock.advance(Duration::from_secs(10));
    dispatcher.let_others_go_first().await;
    assert_eq!((old.deliveries().len(), new.deliveries().len()), (1, 0));

    dispatcher.prove(&webhook).await;
    let mut ids = ids_of(&[new.next_delivery().await, new.next_delivery().await]);
    ids.sort();
    assert_eq!(ids, ["held", "tried"]);
    dispatcher.stop().await;
    assert_eq!(old.deliveries().len(), 1);
}

#[tokio::test]
async fn a_uri_there_and_back_is_sent_to_only_under_its_own_proof() {
    let namespace = Cluster::connect().await.namespace("back").await;
    let (a, b) = (Endpoint::start().await, Endpoint::start().await);
    let dispatcher = Dispatcher::start(&namespace).await;
    dispatcher.proved("audit", &a).await;
    let point_at = |endpoint: &Endpoint| json!({"spec": {"uri": endpoint.uri()}});

    // B was never proved: the proof of A stands when it is A again.
    let webhook = namespace.edit("audit", point_at(&b)).await;
    dispatcher.await_held(&webhook, DeliveringReason::NotVerified).await;
    dispatcher.accept("held for B").await;
    let webhook = namespace.edit("audit", point_at(&a)).await;
    dispatcher.await_sendable(&webhook).await;
    assert_eq!(id_of(&a.next_delivery().await), "held for B");

    // B was proved since: A needs a new proof.
    let webhook = namespace.edit("audit", point_at(&b)).await;
    dispatcher.prove(&webhook).await;
    dispatcher.accept("to B").await;
    assert_eq!(id_of(&b.next_delivery().await), "to B");
    let webhook = namespace.edit("audit", point_at(&a)).await;
    dispatcher.await_held(&webhook, DeliveringReason::NotVerified).await;
    dispatcher.accept("held for A").await;
    dispatcher.let_others_go_first().await;
    assert_eq!((a.deliveries().len(), b.deliveries().len()), (1, 1));
    dispatcher.prove(&webhook).await;
    assert_eq!(id_of(&a.next_delivery().await), "held for A");
    dispatcher.stop().await;
}

#[tokio::test]
async fn what_is_accepted_after_an_edit_goes_where_the_edit_says() {
    let namespace = Cluster::connect().await.namespace("turns").await;
    let (a, b) = (Endpoint::start().await, Endpoint::start().await);
    let dispatcher = Dispatcher::start(&namespace).await;
    dispatcher.proved("audit", &a).await;
    for turn in 0..12 {
        let endpoint = if turn % 2 == 0 { &b } else { &a };
        let webhook = namespace.edit("audit", json!({"spec": {"uri": endpoint.uri()}})).await;
        // The watch may not have brought the edit yet: this one may go to either.
        dispatcher.accept(&format!("early-{turn}")).await;
        dispatcher.prove(&webhook).await;
        for n in 0..5 {
            dispatcher.accept(&format!("{turn}-{n}")).await;
        }
        // What is still held at the next edit would rightly go where that says.
        dispatcher.await_pending(&webhook, 0).await;
    }
    dispatcher.stop().await;
    assert_eq!(a.deliveries().len() + b.deliveries().len(), 72);
    for (endpoint, parity) in [(&a, 1), (&b, 0)] {
        let turns: Vec<usize> = ids_of(&endpoint.deliveries())
            .iter()
            .filter(|id| !id.starts_with("early"))
            .map(|id| id.split('-').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(turns.len(), 30);
        assert!(turns.iter().all(|turn| turn % 2 == parity), "some went to the other endpoint: {turns:?}");
    }
}

#[tokio::test]
async fn a_webhook_that_takes_the_name_of_another_inherits_nothing() {
    let namespace = Cluster::connect().await.namespace("recreated").await;
    let endpoint = Endpoint::start().await;
    let dispatcher = Dispatcher::start(&namespace).await;
    let old = dispatcher.proved("audit", &endpoint).await;
    endpoint.on_next_deliveries([Behaviour::status(500)]);
    dispatcher.accept("of the old").await;
    dispatcher.await_retries(1).await;
    namespace.delete::<Webhook>("audit").await;
    dispatcher.await_pending(&old, 0).await;

    let new = webhook("audit", &endpoint.uri()).events(&["User created"]);
    let new = namespace.apply(&new).await;
    // A status that was restored from a backup proves another object.
    dispatcher.write_proof(&new, &old.uid().unwrap()).await;
    let unproved = |view: &View| matches!(view, View::Known(known) if known.proof == Proof::None);
    dispatcher.await_view(&new, "unproved", unproved).await;
    assert_eq!(dispatcher.accept("too early").await, 0);
    dispatcher.prove(&new).await;
    assert_eq!(dispatcher.accept("of the new").await, 1);
    dispatcher.clock.advance(Duration::from_mins(1));
    assert_eq!(id_of(&endpoint.next_delivery().await), "of the old", "the attempt before the deletion");
    assert_eq!(id_of(&endpoint.next_delivery().await), "of the new");
    dispatcher.let_others_go_first().await;
    dispatcher.stop().await;
    assert_eq!(endpoint.deliveries().len(), 2);
}

#[tokio::test]
async fn the_queue_of_a_webhook_that_was_deleted_meanwhile_is_dropped() {
    let namespace = Cluster::connect().await.namespace("meanwhile").await;
    let endpoint = Endpoint::start().await;
    let dispatcher = Dispatcher::start(&namespace).await;
    let webhook = dispatcher.proved("audit", &endpoint).await;
    namespace.delete::<Secret>("audit").await;
    dispatcher.await_held(&webhook, DeliveringReason::SecretsUnresolved).await;
    dispatcher.accept("held").await;
    dispatcher.await_pending(&webhook, 1).await;
    let dispatcher = dispatcher.restart_after(namespace.delete::<Webhook>("audit")).await;
    dispatcher.await_pending(&webhook, 0).await;
    dispatcher.stop().await;
    assert_eq!(endpoint.deliveries().len(), 0);
}

#[tokio::test]
async fn what_is_left_for_an_endpoint_that_is_gone_is_held_over_a_restart() {
    let namespace = Cluster::connect().await.namespace("gone").await;
    let endpoint = Endpoint::start().await;
    let dispatcher = Dispatcher::start(&namespace).await;
    let one_by_one = |webhook| deliver_by(webhook, json!({"maxInFlight": 1}));
    let webhook = dispatcher.proved_with("audit", &endpoint, one_by_one).await;
    endpoint.on_next_deliveries([Behaviour::status(410)]);
    for id in ["dead", "held"] {
        dispatcher.accept(id).await;
    }
    assert_eq!(id_of(&endpoint.next_delivery().await), "dead");
    let reported = namespace.await_condition("audit", "Delivering", "False", "Gone").await;
    let [letter] = &dispatcher.dead_letters(&webhook, 1).await[..] else { panic!("one dead letter") };
    assert_eq!((letter.event.id.as_str(), letter.note.reason.as_str(), letter.attempts), ("dead", "Gone", 1));

    let dispatcher = dispatcher.restart_after(async {}).await;
    dispatcher.accept("later").await;
    dispatcher.let_others_go_first().await;
    dispatcher.await_pending(&webhook, 2).await;
    assert_eq!(endpoint.deliveries().len(), 1, "it said 410");
    let now = namespace.webhook("audit").await;
    assert_eq!(
        condition(&now, "Delivering"),
        condition(&reported, "Delivering"),
        "and its status said nothing else meanwhile"
    );

    dispatcher.prove(&webhook).await;
    assert_eq!(ids_of(&[endpoint.next_delivery().await, endpoint.next_delivery().await]), ["held", "later"]);
    namespace.await_condition("audit", "Delivering", "True", "Delivering").await;
    dispatcher.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_is_gone_with_nothing_left_stays_so_over_a_restart() {
    let namespace = Cluster::connect().await.namespace("gone").await;
    let endpoint = Endpoint::start().await;
    let dispatcher = Dispatcher::start(&namespace).await;
    let webhook = dispatcher.proved("audit", &endpoint).await;
    endpoint.on_next_deliveries([Behaviour::status(410)]);
    dispatcher.accept("dead").await;
    namespace.await_condition("audit", "Delivering", "False", "Gone").await;
    dispatcher.await_pending(&webhook, 0).await;

    let dispatcher = dispatcher.restart_after(async {}).await;
    dispatcher.accept("held").await;
    dispatcher.let_others_go_first().await;
    assert_eq!(endpoint.deliveries().len(), 1);
    namespace.await_condition("audit", "Delivering", "False", "Gone").await;
    // Another URI ends it as well.
    let other = Endpoint::start().await;
    let webhook = namespace.edit("audit", json!({"spec": {"uri": other.uri()}})).await;
    dispatcher.prove(&webhook).await;
    assert_eq!(id_of(&other.next_delivery().await), "held");
    namespace.await_condition("audit", "Delivering", "True", "Delivering").await;
    dispatcher.stop().await;
}

#[tokio::test]
async fn what_comes_while_the_view_of_the_cluster_is_too_old_is_held_and_not_lost() {
    let namespace = Cluster::connect().await.namespace("stale").await;
    let endpoint = Endpoint::start().await;
    let dispatcher = Dispatcher::with_a_stale_view(&namespace).await;
    let webhook = dispatcher.proved("audit", &endpoint).await;
    assert_eq!(dispatcher.accept("held").await, 1);
    namespace.await_condition("audit", "Delivering", "False", "ViewStale").await;
    dispatcher.await_pending(&webhook, 1).await;
    assert_eq!(endpoint.deliveries().len(), 0);
    let dispatcher = dispatcher.restart_with_a_fresh_view().await;
    assert_eq!(id_of(&endpoint.next_delivery().await), "held");
    namespace.await_condition("audit", "Delivering", "True", "Delivering").await;
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_webhook_that_cannot_be_read_is_held_and_disturbs_no_other() {
    let namespace = Cluster::connect().await.namespace("unreadable").await;
    let (endpoint, other) = (Endpoint::start().await, Endpoint::start().await);
    endpoint.on_next_deliveries([Behaviour::status(500)]);
    let dispatcher = Dispatcher::that_cannot_read_cloud_events(&namespace).await;
    let webhook = dispatcher.proved("audit", &endpoint).await;
    dispatcher.accept("held").await;
    dispatcher.await_retries(1).await;
    namespace.edit("audit", json!({"spec": {"payload": "CloudEvents"}})).await;
    dispatcher.await_held(&webhook, DeliveringReason::Unreadable).await;
    namespace.await_condition("audit", "Delivering", "False", "Unreadable").await;
    dispatcher.proved("other", &other).await;
    dispatcher.clock.advance(Duration::from_secs(10));
    assert_eq!(dispatcher.accept("for the other").await, 1);
    assert_eq!(id_of(&other.next_delivery().await), "for the other");
    dispatcher.let_others_go_first().await;
    assert_eq!(endpoint.deliveries().len(), 1);
    dispatcher.await_pending(&webhook, 1).await;
    namespace.edit("audit", json!({"spec": {"payload": "Standard"}})).await;
    endpoint.next_delivery().await;
    assert_eq!(id_of(&endpoint.next_delivery().await), "held");
    namespace.await_condition("audit", "Delivering", "True", "Delivering").await;
    dispatcher.stop().await;
}

/// Takes every connection on to the endpoint.
async fn relay(listener: TcpListener, first: TcpStream, to: SocketAddr) {
    let mut connections = JoinSet::new();
    let mut next = first;
    loop {
        connections.spawn(async move {
            let mut endpoint = TcpStream::connect(to).await.unwrap();
            // Whichever end closes first.
            drop(tokio::io::copy_bidirectional(&mut next, &mut endpoint).await);
        });
        (next, _) = listener.accept().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_forbidden_while_its_connection_is_made_is_not_sent_and_uses_up_no_attempt() {
    let namespace = Cluster::connect().await.namespace("connecting").await;
    let endpoint = Endpoint::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("https://{}/users", listener.local_addr().unwrap());
    let dispatcher = Dispatcher::start(&namespace).await;
    let one = json!({"maxAttempts": 1, "timeout": "30s"});
    let edit = |webhook: Webhook| deliver_by(webhook, one).with(|spec| spec.uri = uri);
    let webhook = dispatcher.proved_with("audit", &endpoint, edit).await;
    dispatcher.accept("waits").await;
    // The attempt has begun, and nobody answers its TLS.
    let (slow, _) = timeout(DEADLINE, listener.accept()).await.unwrap().unwrap();
    namespace.edit("audit", json!({"spec": {"enabled": false}})).await;
    dispatcher.await_held(&webhook, DeliveringReason::Disabled).await;

    let relaying = tokio::spawn(relay(listener, slow, endpoint.address()));
    dispatcher.let_others_go_first().await;
    assert_eq!(endpoint.deliveries().len(), 0);
    namespace.edit("audit", json!({"spec": {"enabled": true}})).await;
    assert_eq!(id_of(&endpoint.next_delivery().await), "waits", "its only attempt was not used up");
    dispatcher.await_pending(&webhook, 0).await;
    dispatcher.stop().await;
    relaying.abort();
}

#[tokio::test]
async fn five_seconds_after_an_edit_that_forbids_it_no_attempt_starts_while_events_come_on_and_on() {
    const BOUND: Duration = Duration::from_secs(5);
    const WAITING: usize = 400;
    let namespace = Cluster::connect().await.namespace("bound").await;
    let other = Endpoint::start().await;
    let dispatcher = Dispatcher::start(&namespace).await;
    dispatcher.proved("other", &other).await;
    let names = ["disabled", "moved", "unlabelled", "deleted"];
    let mut endpoints = Vec::new();
    for name in names {
        let endpoint = Endpoint::start().await;
        // So slow that some still wait long after the bound.
        endpoint.on_delivery(Behaviour::ok().after(Duration::from_millis(40)));
        let one = json!({"maxInFlight": 1});
        dispatcher.proved_with(name, &endpoint, |webhook| deliver_by(webhook, one)).await;
        endpoints.push(endpoint);
    }
    for n in 0..WAITING {
        dispatcher.accept(&n.to_string()).await;
    }
    let load = async {
        for n in WAITING.. {
            dispatcher.accept(&n.to_string()).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let edits = async {
        for endpoint in &endpoints {
            for _ in 0..20 {
                endpoint.next_delivery().await;
            }
        }
        namespace.edit("disabled", json!({"spec": {"enabled": false}})).await;
        let disabled = Instant::now();
        namespace.edit("moved", json!({"spec": {"uri": other.uri_of("/moved")}})).await;
        let moved = Instant::now();
        namespace.unlabel_secret("unlabelled").await;
        let unlabelled = Instant::now();
        namespace.delete::<Webhook>("deleted").await;
        let last = Instant::now();
        // As long as an attempt may start, and then as many more as show that some still do.
        tokio::time::sleep_until(last + BOUND).await;
        let before = other.deliveries().len();
        while other.deliveries().len() < before + 50 {
            other.next_delivery().await;
        }
        [disabled, moved, unlabelled, last]
    };
    let edited = tokio::select! {
        edited = edits => edited,
        () = load => unreachable!("it goes on and on"),
    };
    for ((name, endpoint), edited) in names.iter().zip(&endpoints).zip(edited) {
        let late = endpoint.deliveries().iter().filter(|it| it.at > edited + BOUND).count();
        assert_eq!(late, 0, "{name}: attempts after {BOUND:?}");
    }
    let moved = other.deliveries().iter().filter(|it| it.target == "/moved").count();
    assert_eq!(moved, 0, "nobody has proved where it moved to");
    dispatcher.stop().await;
}
