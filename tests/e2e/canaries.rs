//! What must not be told, and what must not act on whoever reads it: planted in
//! every input, looked for in every output.
//!
//! ```text
//! Secrets, tokens, events, endpoints' answers ──> herald run, at `trace`, through success and failures
//!                                                     │
//! log · metrics · Kubernetes Events · statuses · commands · answers to producers ──> none of them
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use herald::api::{Replay, Webhook};
use herald::model::line::acts;
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, PostParams};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::delivery::deliver_by;
use crate::support::certificates::{Certificate, authority_pem, client};
use crate::support::objects::until_there;
use crate::support::operator::EVERYTHING;
use crate::support::producer::event;
use crate::support::webhook::WebhookExt as _;
use crate::support::{Behaviour, Cluster, Endpoint, HeraldProcess, Namespace, Operator, Producer, webhook};

/// What a terminal obeys, what begins a line, what JSON ends at, and what turns the order of letters.
const HOSTILE: &str = "x\nERROR forged\u{1b}[2J\u{9b}31m\u{7f}\u{202e}\u{2028}\"}{\"level\":\"ERROR\"}";

/// A text that stands nowhere else, and where it may be seen.
struct Canary {
    text: String,
    /// Beginnings of the names of outputs.
    shown_in: &'static [&'static str],
}

#[derive(Default)]
struct Canaries(Vec<Canary>);

impl Canaries {
    /// Fit for a Secret's value, a header, an id or JSON.
    fn plant(&mut self, what: &str, shown_in: &'static [&'static str]) -> String {
        let text = format!("canary-{what}-{:016x}", rand::random::<u64>());
        self.watch(&text, shown_in);
        text
    }

    /// As it is, and as Kubernetes writes what is secret.
    fn watch(&mut self, text: &str, shown_in: &'static [&'static str]) {
        for text in [text.to_owned(), STANDARD.encode(text)] {
            self.0.push(Canary { text, shown_in });
        }
    }

    fn look_for_in(&self, outputs: &[(String, String)]) {
        for (name, output) in outputs {
            for Canary { text, shown_in } in &self.0 {
                let at = output.find(text.as_str());
                let allowed = shown_in.iter().any(|beginning| name.starts_with(beginning));
                assert!(
                    at.is_none() || allowed,
                    "{text} is in {name}: …{}…",
                    output.chars().skip(at.unwrap_or(0).saturating_sub(300)).take(600).collect::<String>()
                );
            }
        }
    }
}

/// What is not told of an event but to whoever asks for it.
const ON_CALL: &[&str] = &["events", "deadletters", "test"];

async fn run(format: &str) {
    let namespace = Cluster::connect().await.namespace("canaries").await;
    let log = ["--log", "trace", "--log-format", format];
    let mut herald = HeraldProcess::start_with(&[&namespace], &log).await;
    let producer = Producer::new(&namespace).await;
    let operator = Operator::with(&namespace, "operator", &EVERYTHING).await;
    let mut canaries = Canaries::default();
    canaries.watch(producer.token(), &[]);
    canaries.watch(&operator.token(), &[]);

    // Taken, refused, tried again and given up, by an endpoint that tells what it was told.
    let api_key = canaries.plant("api-key", &[]);
    let signing = canaries.plant("signing", &[]);
    let body = canaries.plant("body", &["test"]);
    let header = canaries.plant("header", &[]);
    let query = canaries.plant("query", &["webhooks"]);
    let endpoint = Endpoint::start().await;
    let signing = format!("whsec_{}", STANDARD.encode(signing));
    namespace.secret("audit", &[("api-key", &api_key), ("signing-secret", &signing)]).await;
    let echo = format!("{{\"you sent\": \"{api_key}\", \"and\": \"{body}\"}}");
    let failure = Behaviour::status(500).body(echo).header("x-echo", &api_key).header("x-header", &header);
    let uri = endpoint.uri_of(&format!("/users?code={query}"));
    let audit = webhook("audit", &uri).signed_by("audit").with(|spec| {
        spec.name = format!("Audit {HOSTILE}");
        spec.description = Some(format!("For {HOSTILE}"));
    });
    // An apply is YAML to the API server, which takes fewer characters.
    let audit = deliver_by(audit, json!({"maxAttempts": 2}));
    namespace.api::<Webhook>().create(&PostParams::default(), &audit).await.unwrap();
    namespace.await_condition("audit", "Delivering", "True", "Delivering").await;

    let [id, source, subject, more] =
        ["id", "source", "subject", "extension"].map(|what| canaries.plant(what, ON_CALL));
    let data = canaries.plant("data", &["events get --payload"]);
    let mut secret_event = event("user.created", &id);
    secret_event["source"] = json!(format!("/{source}"));
    // Letters in another order are no control characters: they may stand in an id.
    secret_event["subject"] = json!(format!("{subject}\u{202e}nimda"));
    secret_event["herald"] = json!(more);
    secret_event["data"] = json!({"password": data, "hostile": HOSTILE});
    endpoint.on_next_deliveries([failure.clone(), failure.clone()]);
    assert_eq!(producer.send(&herald, &secret_event).await, 1);
    herald.await_metric("herald_dead_letters_total{reason=\"UnexpectedStatus\"}", |dead| dead > 0.5).await;
    secret_event["id"] = json!(format!("{id}-delivered"));
    assert_eq!(producer.send(&herald, &secret_event).await, 1);
    herald.await_metric("herald_deliveries_delivered_total", |delivered| delivered > 0.5).await;
    let replay = json!({
        "apiVersion": "herald.dev/v1alpha1", "kind": "Replay", "metadata": {"name": "again"},
        "spec": {"webhook": "audit", "which": "DeadLetters"},
    });
    namespace.apply::<Replay>(&serde_json::from_value(replay).unwrap()).await;
    let finished = |replay: &Replay| replay.status.as_ref().is_some_and(|it| it.finish_time.is_some());
    until_there(&namespace.api::<Replay>(), "again", finished).await;
    // Twice for the event, and once for each of the tests below.
    endpoint.on_next_deliveries(vec![failure; 4]);
    secret_event["id"] = json!(format!("{id}-dead"));
    assert_eq!(producer.send(&herald, &secret_event).await, 1);
    herald.await_metric("herald_dead_letters_total{reason=\"UnexpectedStatus\"}", |dead| dead > 1.5).await;

    let unfit = unfit(&namespace, &mut canaries).await;
    let mut outputs = refusals(&herald, &producer, &mut canaries).await;

    // What a person on call asks.
    for command in [
        &["test", "audit"][..],
        &["test", "unfit-0"],
        &["events", "get", &id],
        &["events", "get", "--payload", &id],
        &["events", "list", "--webhook", "audit"],
        &["deadletters", "list", "--webhook", "audit"],
    ] {
        for output in ["table", "json"] {
            let printed = operator.run(&herald, &[command, &["-o", output]].concat()).await;
            let name = command.join(" ").replace(&id, "ID");
            for (stream, text) in [("out", printed.out), ("err", printed.err)] {
                let without_breaks = text.replace('\n', "");
                assert!(!without_breaks.contains(acts), "{name} -o {output}: {text:?}");
                outputs.push((format!("{name} -o {output}: {stream}"), text));
            }
        }
    }
    for challenge in [endpoint.challenges(), unfit.iter().flat_map(Endpoint::challenges).collect()].concat() {
        canaries.watch(challenge.header("x-verification-key").unwrap(), &[]);
    }

    outputs.push(("metrics".to_owned(), herald.metrics().await));
    outputs.extend(objects(&namespace).await);
    herald.stop().await;
    let log = herald.log();
    assert!(log.contains("taking user events") && log.contains("TRACE"), "{}", log.len());
    for line in log.lines() {
        assert!(!line.contains(acts), "{line:?}");
        assert!(format != "json" || serde_json::from_str::<Value>(line).is_ok(), "{line}");
        assert!(!line.starts_with("ERROR forged"), "{line}");
    }
    outputs.push(("log".to_owned(), log));
    canaries.look_for_in(&outputs);
    // They would have been found.
    let of_payload =
        outputs.iter().find(|(name, _)| name.starts_with("events get --payload ID -o json: out"));
    assert!(of_payload.is_some_and(|(_, text)| text.contains(&data)), "{of_payload:?}");
    let of_test = outputs.iter().find(|(name, _)| name.starts_with("test audit -o json: out"));
    assert!(
        of_test.is_some_and(|(_, text)| text.contains(&body) && text.contains("[the API key]")),
        "{of_test:?}"
    );
}

/// Webhooks that come to nothing, each in its own way.
async fn unfit(namespace: &Namespace, canaries: &mut Canaries) -> Vec<Endpoint> {
    let key = client("herald").key;
    // A line in the middle of the key.
    canaries.watch(key.lines().nth(1).unwrap(), &[]);
    let [broken_key, signing, with_break, answer, mismatch] =
        ["client-key", "bad-signing", "bad-api-key", "answer", "mismatch"]
            .map(|what| canaries.plant(what, &[]));
    let pair = client("herald");
    let endpoints = [
        Endpoint::start().await,
        Endpoint::start().await,
        Endpoint::with(Certificate::Expired, false).await,
        Endpoint::with(Certificate::OtherHost, false).await,
        Endpoint::with(Certificate::Good, true).await,
        Endpoint::with(Certificate::Good, true).await,
        Endpoint::start().await,
        Endpoint::start().await,
    ];
    let [malformed, mismatched, ..] = &endpoints;
    malformed.on_challenge(Behaviour::ok().body(format!("{answer}{HOSTILE}")).header("x-header", &answer));
    mismatched.on_challenge(Behaviour::ok().body(json!({"key": mismatch}).to_string()));
    let pem = |text: &str| format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
    for (n, (api_key, signing, tls_key)) in [
        ("k", "", ""),
        ("k", "", ""),
        ("k", "", ""),
        ("k", "", ""),
        ("k", "", &key),
        ("k", "", &pem(&broken_key)),
        ("k", &signing, ""),
        (&format!("{with_break}\n"), "", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("unfit-{n}");
        let mut entries = vec![("api-key", api_key)];
        if !signing.is_empty() {
            entries.push(("signing-secret", signing));
        }
        if !tls_key.is_empty() {
            // The key does not belong to the certificate, or is none.
            entries.extend([("tls.crt", &*pair.certificate), ("tls.key", tls_key)]);
        }
        namespace.secret(&name, &entries).await;
        let mut unfit = webhook(&name, &endpoints[n].uri());
        if !signing.is_empty() {
            unfit = unfit.signed_by(&name);
        }
        if !tls_key.is_empty() {
            let tls = json!({"clientCertificateSecretRef": {"name": name}});
            unfit = unfit.with(|spec| spec.tls = serde_json::from_value(tls).unwrap());
        }
        namespace.apply(&unfit).await;
    }
    for (n, reason) in [
        "MalformedAnswer",
        "KeyMismatch",
        "TLSFailed",
        "TLSFailed",
        "SecretMalformed",
        "SecretMalformed",
        "SecretMalformed",
        "SecretMalformed",
    ]
    .into_iter()
    .enumerate()
    {
        namespace.await_condition(&format!("unfit-{n}"), "Ready", "False", reason).await;
    }
    // And a CA that is none.
    namespace.config_map("ca", &[("ca.crt", &authority_pem().replace("CERTIFICATE", "\u{1b}[2J"))]).await;
    let tls = json!({"caConfigMapRef": {"name": "ca", "key": "ca.crt"}});
    let unfit =
        webhook("unfit-ca", &endpoints[0].uri()).with(|spec| spec.tls = serde_json::from_value(tls).unwrap());
    namespace.secret("unfit-ca", &[("api-key", "k")]).await;
    namespace.apply(&unfit).await;
    namespace.await_condition("unfit-ca", "Ready", "False", "CaUnusable").await;
    endpoints.into()
}

/// Requests that are not accepted, and the answers.
async fn refusals(
    herald: &HeraldProcess,
    producer: &Producer,
    canaries: &mut Canaries,
) -> Vec<(String, String)> {
    let token = canaries.plant("wrong-token", &[]);
    let data = canaries.plant("refused", &[]);
    let kind = canaries.plant("kind", &["answer: unknown type"]);
    let http = herald.http();
    let url = herald.events_url("canaries");
    let post = |token: &str, body: String| {
        let request =
            http.post(&url).bearer_auth(token).header("content-type", "application/cloudevents+json");
        request.body(body).send()
    };
    let mut outputs = Vec::new();
    let good = event("user.created", "refused").to_string();
    for wrong in [token.as_str(), producer.token()] {
        let answer = post(wrong, good.clone()).await.unwrap();
        assert!(matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN), "{answer:?}");
        outputs.push((format!("answer: {}", answer.status()), answer.text().await.unwrap()));
    }
    let mut of_unknown_type = event("user.created", "refused");
    of_unknown_type["type"] = json!(format!("{kind}{HOSTILE}"));
    let mut control = event("user.created", "refused");
    control["subject"] = json!(format!("{data}{HOSTILE}"));
    for (name, body, status) in [
        ("malformed", format!("{{\"data\": \"{data}\", \"{data}\" \"{data}\""), 400),
        ("wrong kind", json!({"specversion": {"data": data}, "data": data}).to_string(), 400),
        ("unknown type", of_unknown_type.to_string(), 422),
        ("control characters", control.to_string(), 422),
    ] {
        let sending = producer.sending(herald);
        let (answered, text) = sending.post_text(body).await;
        assert!(answered == status || answered.is_client_error(), "{name}: {answered} {text}");
        assert!(!text.contains(acts), "{text:?}");
        outputs.push((format!("answer: {name}"), text));
    }
    outputs
}

/// What is in the cluster, for those who may read it.
async fn objects(namespace: &Namespace) -> Vec<(String, String)> {
    let all = ListParams::default();
    let mut outputs = Vec::new();
    for event in namespace.api::<Event>().list(&all).await.unwrap() {
        let note = event.note.unwrap_or_default();
        assert!(!note.contains(acts), "{note:?}");
        outputs.push(("Kubernetes Event".to_owned(), note));
    }
    assert!(!outputs.is_empty());
    for webhook in namespace.api::<Webhook>().list(&all).await.unwrap() {
        let status = json!(webhook.status.unwrap());
        for condition in status["conditions"].as_array().unwrap() {
            let message = condition["message"].as_str().unwrap();
            assert!(!message.contains(acts) && message.len() <= 1024, "{message:?}");
            // The whole URI stands in the proof alone.
            outputs.push(("condition".to_owned(), message.to_owned()));
        }
        outputs.push(("webhooks".to_owned(), status.to_string()));
    }
    for replay in namespace.api::<Replay>().list(&all).await.unwrap() {
        outputs.push(("replays".to_owned(), json!(replay.status).to_string()));
    }
    outputs
}

#[tokio::test]
async fn no_secret_and_no_payload_is_in_any_output_and_nothing_acts_on_its_reader() {
    run("json").await;
}

#[tokio::test]
async fn nor_with_logs_as_text() {
    run("text").await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_crash_leaves_no_memory_behind() {
    let namespace = Cluster::connect().await.namespace("core").await;
    let mut herald = HeraldProcess::start(&[&namespace]).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", herald.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let values: Vec<_> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(values, ["0", "0"], "{core}");
    let status = herald.crash().await;
    assert!(!std::os::unix::process::ExitStatusExt::core_dumped(&status), "{status}");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(6));
}
