//! What is taken and what is refused, by table.

use serde_json::{Value, json};

use super::*;
use crate::model::EventType;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const STRUCTURED: &str = "application/cloudevents+json";
const BATCHED: &str = "application/cloudevents-batch+json";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

fn read(headers: &HeaderMap, body: impl Into<Bytes>) -> Result<Vec<Event>, Refusal> {
    Head::read(headers)?.events(&body.into(), "identity", NOW)
}

fn structured(body: impl Into<Bytes>) -> Result<Event, Refusal> {
    read(&headers(&[("content-type", STRUCTURED)]), body).map(|mut events| events.remove(0))
}

fn batched(body: impl Into<Bytes>) -> Result<Vec<Event>, Refusal> {
    read(&headers(&[("content-type", BATCHED)]), body)
}

fn good() -> Value {
    json!({"specversion": "1.0", "id": "1", "source": "/idp", "type": "user.created", "subject": "u", "data": {}})
}

/// The good event with one member replaced, or taken out by `null`.
fn with(name: &str, value: Value) -> String {
    let mut event = good();
    let members = event.as_object_mut().unwrap();
    members.remove(name);
    if !value.is_null() {
        members.insert(name.to_owned(), value);
    }
    event.to_string()
}

fn binary(changes: &[(&'static str, &str)], body: &'static str) -> Result<Event, Refusal> {
    let mut map = headers(&[
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/idp"),
        ("ce-type", "user.created"),
        ("ce-subject", "u"),
    ]);
    for (name, value) in changes {
        map.remove(*name);
        if !value.is_empty() {
            map.insert(*name, value.parse().unwrap());
        }
    }
    read(&map, body).map(|mut events| events.remove(0))
}

fn message<T: std::fmt::Debug>(verdict: Result<T, Refusal>) -> String {
    verdict.unwrap_err().to_string()
}

#[test]
fn a_structured_event_is_taken_with_its_data_byte_for_byte() {
    let body = r#" {"data" :  {"b":1.00, "a":"\u00e9\ud83d\ude00",  "b":[ ]} ,"type":"user.logged_in","subject":"ü\"",
        "specversion":"1.0","time":"2026-01-31T12:00:00.5+01:00","source":"https://idp.example.com/a?b#c",
        "datacontenttype":"application/json; charset=UTF-8","dataschema":"/s","traceparent":"00-1","partition":7,"id":"é"} "#;
    let event = structured(body).unwrap();
    assert_eq!(event.data, &br#"{"b":1.00, "a":"\u00e9\ud83d\ude00",  "b":[ ]}"#[..]);
    assert_eq!((event.id.as_str(), event.subject.as_str()), ("é", "ü\""));
    assert_eq!(event.source, "https://idp.example.com/a?b#c");
    assert_eq!(event.event_type, EventType::UserLoggedIn);
    assert_eq!(event.namespace, "identity");
    assert_eq!(event.time.to_string(), "2026-01-31T11:00:00.5Z");
}

#[test]
fn any_json_value_is_data() {
    for data in ["null", "0", "-1.5e300", "\"x\"", "[]", "{}", "true"] {
        let body = good().to_string().replace("\"data\":{}", &format!("\"data\":{data}"));
        assert_eq!(structured(body).unwrap().data, data, "{data}");
    }
}

#[test]
fn time_is_when_it_was_received_unless_the_producer_says() {
    assert_eq!(structured(good().to_string()).unwrap().time, NOW);
    let null = good().to_string().replacen('{', "{\"time\":null,", 1);
    assert_eq!(structured(null).unwrap().time, NOW);
    for (text, expected) in [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("2026-01-31t12:00:00z", "2026-01-31T12:00:00Z"),
        ("2026-01-31T12:00:00-00:30", "2026-01-31T12:30:00Z"),
        ("2026-01-31T12:00:00.123456789Z", "2026-01-31T12:00:00.123Z"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
    ] {
        let event = structured(with("time", json!(text))).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(event.time.to_string(), expected, "{text}");
    }
}

#[test]
fn each_bad_time_is_refused() {
    for text in [
        "",
        "now",
        "2026-01-31",
        "2026-01-31T12:00Z",
        "20260131T120000Z",
        "2026-01-31 12:00:00Z",
        "2026-01-31T12:00:00",
        "2026-01-31T12:00:00.Z",
        "2026-01-31T12:00:00.1234567890Z",
        "2026-01-31T12:00:00+1:00",
        "2026-01-31T12:00:00+01",
        "2026-02-30T12:00:00Z",
        "2026-01-31T25:00:00Z",
        "2026-01-31T12:00:00Z[UTC]",
        "2026-01-31T12:00:00é",
        "1969-12-31T23:59:59Z",
    ] {
        let verdict = structured(with("time", json!(text)));
        assert!(
            matches!(&verdict, Err(Refusal { fault: Fault::Invalid { name: "time", .. }, .. })),
            "{text}: {verdict:?}"
        );
    }
}

#[test]
fn each_missing_attribute_is_named() {
    for name in ["id", "source", "type", "subject", "specversion", "data"] {
        let expected = Refusal::from(Fault::Missing(name));
        assert_eq!(structured(with(name, Value::Null)), Err(expected.clone()), "{name}");
        let nulled = with(name, Value::Null).replacen('{', &format!("{{\"{name}\":null,"), 1);
        if name != "data" {
            assert_eq!(structured(nulled), Err(expected), "{name}");
        }
    }
    assert!(message(structured(with("type", Value::Null))).contains("\"user.created\""));
}

#[test]
fn each_bad_attribute_is_refused_for_what_is_wrong_with_it() {
    let long = "é".repeat(513);
    let table = [
        ("id", json!(""), "must not be empty"),
        ("id", json!(1), "must be a JSON string"),
        ("id", json!({}), "must be a JSON string"),
        ("id", json!("a\nb"), "control characters"),
        ("id", json!("a\u{85}"), "control characters"),
        ("id", json!(long), "at most 1024 bytes, and has 1026"),
        ("subject", json!(""), "must not be empty"),
        ("subject", json!(long), "at most 1024 bytes"),
        ("subject", json!("\u{0}"), "control characters"),
        ("source", json!(""), "must not be empty"),
        ("source", json!("my idp"), "percent-encode ' '"),
        ("source", json!("/é"), "percent-encode 'é'"),
        ("source", json!("<idp>"), "percent-encode '<'"),
        ("specversion", json!("0.3"), "must be \"1.0\""),
        ("specversion", json!(1.0), "must be a JSON string"),
        ("type", json!("User created"), "\"User created\" is not a type of user event"),
        ("type", json!("user.created "), "the types are \"user.created\", "),
        ("datacontenttype", json!("text/xml"), "must be application/json"),
        ("datacontenttype", json!("application/cloudevents+json"), "must be application/json"),
        ("datacontenttype", json!("application/json;charset=latin1"), "charset must be utf-8"),
        ("data_base64", json!("e30="), "put the value itself in \"data\""),
        ("userId", json!("u"), "\"userId\" cannot be an attribute"),
        ("user_id", json!("u"), "lower-case letters and digits"),
        ("", json!("u"), "cannot be an attribute"),
        ("user", json!({"a": 1}), "must not be an object or an array"),
        ("groups", json!([[]]), "must not be an object or an array"),
    ];
    for (name, value, expected) in table {
        let message = message(structured(with(name, value.clone())));
        assert!(message.contains(expected), "{name}: {value}: {message}");
    }
}

#[test]
fn what_is_not_one_json_object_is_malformed() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let many = format!("{{{}}}", (0..65).map(|i| format!("\"a{i}\":1")).collect::<Vec<_>>().join(","));
    for body in [
        "",
        " ",
        "null",
        "[]",
        "\"x\"",
        "{",
        "{}x",
        "{\"id\":\"1\",}",
        "{'id':'1'}",
        "{\"id\":\"\\ud800\"}",
        "\u{feff}{}",
        deep.as_str(),
        many.as_str(),
    ] {
        let verdict = structured(body.to_owned());
        assert!(
            matches!(&verdict, Err(Refusal { fault: Fault::Malformed(_), index: None })),
            "{body:.40}: {verdict:?}"
        );
    }
    let not_utf8 = structured(&b"{\"data\":\"\xff\"}"[..]);
    assert!(matches!(not_utf8, Err(Refusal { fault: Fault::Malformed(_), .. })), "{not_utf8:?}");
}

#[test]
fn a_member_that_is_there_twice_is_refused() {
    for twice in ["\"id\":\"2\"", "\"data\":1", "\"i\\u0064\":\"2\"", "\"ext\":1,\"ext\":1", "\"id\":null"] {
        let body = good().to_string().replacen('{', &format!("{{{twice},"), 1);
        assert!(message(structured(body)).contains("is there twice"), "{twice}");
    }
}

#[test]
fn data_has_a_largest_size_and_a_largest_depth() {
    let text = |bytes: usize| with("data", json!("x".repeat(bytes - 2)));
    assert_eq!(structured(text(MAX_DATA_BYTES)).unwrap().data.len(), MAX_DATA_BYTES);
    let verdict = structured(text(MAX_DATA_BYTES + 1));
    assert_eq!(verdict, Err(Fault::DataTooLarge(MAX_DATA_BYTES + 1).into()));
    let nested = |depth: usize| {
        good()
            .to_string()
            .replace("\"data\":{}", &format!("\"data\":{}{}", "[".repeat(depth), "]".repeat(depth)))
    };
    assert!(structured(nested(64)).is_ok());
    assert!(message(structured(nested(65))).contains("64 deep"));
    assert!(message(structured(nested(100_000))).contains("64 deep"));
}

#[test]
fn a_batch_keeps_its_order() {
    let body = Value::from(
        (0..3)
            .map(|i| {
                json!({"specversion": "1.0", "id": format!("{i}"), "source": "s",
        "type": "user.deleted", "subject": "u", "data": i})
            })
            .collect::<Vec<_>>(),
    );
    let events = batched(body.to_string()).unwrap();
    assert_eq!(events.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), ["0", "1", "2"]);
    assert_eq!(batched(" [ ] "), Ok(Vec::new()));
}

#[test]
fn the_fault_of_a_batch_names_its_index() {
    let batch = |third: &str| format!("[{},{},{third},{}]", good(), good(), good());
    let table = [
        (batch("{}"), Some(2), "specversion"),
        (batch(&with("type", json!("x"))), Some(2), "event 2 of the batch"),
        (batch("3"), Some(2), "object"),
        (batch("{\"id\":}"), Some(2), "column"),
        (batch("[]"), Some(2), "object"),
        (format!("[{}", good()), Some(1), "EOF"),
        (format!("[{},]", good()), Some(1), "trailing comma"),
        (good().to_string(), None, "JSON array"),
        (String::new(), None, "JSON array"),
    ];
    for (body, index, expected) in table {
        let refusal = batched(body.clone()).unwrap_err();
        assert_eq!(refusal.index, index, "{body}: {refusal}");
        assert!(refusal.to_string().contains(expected), "{body}: {refusal}");
    }
}

#[test]
fn a_batch_has_a_largest_number_of_events() {
    let batch = |n: usize| format!("[{}]", vec![good().to_string(); n].join(","));
    assert_eq!(batched(batch(MAX_BATCH_EVENTS)).unwrap().len(), MAX_BATCH_EVENTS);
    assert_eq!(batched(batch(MAX_BATCH_EVENTS + 1)), Err(Fault::TooManyEvents.into()));
}

#[test]
fn a_binary_event_is_taken_from_its_headers_and_its_body() {
    let event = binary(
        &[
            ("ce-subject", "J%C3%BCrgen%20%25"),
            ("ce-id", "\"a \\\"quoted\\\" id\""),
            ("ce-time", "2026-01-31T12:00:00Z"),
            ("ce-traceparent", "00-1"),
        ],
        " {\"a\": 1} \n",
    )
    .unwrap();
    assert_eq!((event.subject.as_str(), event.id.as_str()), ("Jürgen %", "a \"quoted\" id"));
    assert_eq!(event.data, "{\"a\": 1}");
    assert_eq!(event.time.to_string(), "2026-01-31T12:00:00Z");
    for content_type in
        ["", "application/json; charset=\"utf-8\"", "Application/JSON", "application/scim+json"]
    {
        assert!(binary(&[("content-type", content_type)], "1").is_ok(), "{content_type}");
    }
}

#[test]
fn each_fault_of_a_binary_event_is_named() {
    type Changes = &'static [(&'static str, &'static str)];
    let table: [(Changes, &str, &str); 12] = [
        (&[("ce-id", "")], "{}", "\"id\" is missing"),
        (&[("ce-specversion", "")], "{}", "\"specversion\" is missing"),
        (&[("ce-specversion", "1")], "{}", "must be \"1.0\""),
        (&[], "", "\"data\" is missing"),
        (&[], "{", "as JSON"),
        (&[], "{} {}", "as JSON"),
        (&[("ce-id", "100%")], "{}", "%25"),
        (&[("ce-id", "%zz")], "{}", "%25"),
        (&[("ce-id", "%ff")], "{}", "not UTF-8"),
        (&[("ce-id", "%0A")], "{}", "control characters"),
        (&[("ce-datacontenttype", "application/json")], "{}", "Content-Type says it"),
        (&[("ce-user_id", "1")], "{}", "cannot carry an attribute"),
    ];
    for (changes, body, expected) in table {
        let message = message(binary(changes, body));
        assert!(message.contains(expected), "{changes:?} {body}: {message}");
    }
    let mut twice = headers(&[("ce-id", "1"), ("ce-specversion", "1.0")]);
    twice.append("ce-id", "2".parse().unwrap());
    assert!(message(read(&twice, "{}")).contains("given once"));
}

#[test]
fn each_wrong_content_type_is_told_what_to_send() {
    let table: [&[(&str, &str)]; 9] = [
        &[],
        &[("content-type", "application/json")],
        &[("content-type", "text/plain"), ("ce-id", "1")],
        &[("content-type", "application/xml"), ("ce-id", "1")],
        &[("content-type", "application/cloudevents")],
        &[("content-type", "application/cloudevents+avro")],
        &[("content-type", "application/cloudevents-batch+xml"), ("ce-id", "1")],
        &[("content-type", "application/cloudevents+json; charset=iso-8859-1")],
        &[("content-type", STRUCTURED), ("content-encoding", "gzip")],
    ];
    for pairs in table {
        let verdict = Head::read(&headers(pairs)).map(|head| head.mode);
        assert!(
            matches!(&verdict, Err(Refusal { fault: Fault::ContentType(_), .. })),
            "{pairs:?}: {verdict:?}"
        );
    }
}

#[test]
fn a_refusal_is_short_however_long_what_it_refuses_is() {
    let long = "x".repeat(10_000);
    let content = |value: &str| read(&headers(&[("content-type", value)]), "{}").map(|_| good());
    let event = |body: String| structured(body).map(|_| good());
    let refusals = [
        content(&long),
        content(&format!("{long}+json")),
        content(&format!("application/json; charset={long}")),
        event(with("type", json!(long))),
        event(with("id", json!(long))),
        event(with(&long, json!([]))),
        event(with(&format!("{long}_"), json!("1"))),
        event(format!("{{\"{long}\":1,\"{long}\":2}}")),
        event(format!("\"{long}\"")),
        batched(format!("[\"{long}\"]")).map(|_| good()),
        batched(format!("\"{long}\"")).map(|_| good()),
    ];
    for refusal in refusals {
        let said = message(refusal);
        assert!(said.len() < 600, "{} bytes: {said:.600}", said.len());
    }
}
