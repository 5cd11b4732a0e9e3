//! What is done about an object, by table.

use super::*;

fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

#[test]
fn ours_is_put_right_or_removed_and_what_is_not_ours_is_spared() {
    let marks = Marks::new("herald");
    let content = json!({ "data": { "ca.crt": "bundle" } });
    let labels =
        json!({ "app.kubernetes.io/managed-by": "herald", "herald.dev/installation": "herald", "more": "" });
    let ours = |data: Value| Some(object(json!({ "metadata": { "labels": labels }, "data": data })));
    let foreign = |labels: Value| {
        Some(object(json!({ "metadata": { "labels": labels }, "data": { "ca.crt": "bundle" } })))
    };
    let table = [
        ("missing", true, None, Act::Apply),
        ("missing as it should", false, None, Act::Nothing),
        ("good", true, ours(json!({ "ca.crt": "bundle" })), Act::Nothing),
        ("with somebody's addition", true, ours(json!({ "ca.crt": "bundle", "more": "" })), Act::Nothing),
        ("edited", true, ours(json!({ "ca.crt": "other" })), Act::Apply),
        ("emptied", true, ours(Value::Null), Act::Apply),
        ("no longer wanted", false, ours(json!({ "ca.crt": "bundle" })), Act::Remove),
        ("without labels", true, foreign(Value::Null), Act::Spare),
        ("without labels, unwanted", false, foreign(Value::Null), Act::Nothing),
        ("another's", true, foreign(json!({ "app.kubernetes.io/managed-by": "Helm" })), Act::Spare),
        (
            "another installation's, unwanted",
            false,
            foreign(json!({ "app.kubernetes.io/managed-by": "herald", "herald.dev/installation": "other" })),
            Act::Nothing,
        ),
    ];
    for (what, wanted, found, expected) in table {
        assert_eq!(decide(wanted, found.as_ref(), &marks, &content), expected, "{what}");
    }
}
