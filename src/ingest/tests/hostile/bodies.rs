//! Bodies that are slow, packed, too large or never come.

use super::{Row, body, good, head, row, with_length};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let awaited = |token: &str| {
        head("expect: 100-continue\r\ncontent-length: 100\r\n\r\n").replace("Bearer good", token)
    };
    rows.push(row("a body that is asked for and never comes", awaited("Bearer good"), &[100, 408]));
    rows.push(row("a body that a stranger offers", awaited("Bearer bad"), &[401]));
    rows.push(row("another expectation", with_length("expect: a miracle\r\n", &body("row")), &[202]));
    rows.push(Row { drips: true, ..row("a header that drips", good(), &[]) });
    rows.push(Row { drips: true, ..row("a body that drips", with_length("", &body("row")), &[]) });
    let packed = "\x1f\u{8b}\u{8}\0\0\0\0\0\0\u{3}";
    for encoding in
        ["gzip", "deflate", "br", "zstd", "identity, gzip", "identity\r\ncontent-encoding: gzip", "x"]
    {
        let text = with_length(&format!("content-encoding: {encoding}\r\n"), packed);
        rows.push(row(format!("content-encoding: {encoding}"), text, &[415]));
    }
    rows.push(row("not packed", with_length("content-encoding: identity\r\n", &body("row")), &[202]));
    let large = |token: &str| {
        let head = head("content-length: 100000000\r\n\r\n").replace("Bearer good", token);
        head + &" ".repeat(20 << 20)
    };
    rows.push(row("a body beyond all bounds", large("Bearer good"), &[413]));
    rows.push(row("a body that a stranger sends all the same", large("Bearer bad"), &[401]));
    let batch = |body: &str| with_length("", body).replace("cloudevents+json", "cloudevents-batch+json");
    rows.push(row("four MiB of brackets", batch(&"[".repeat(4 << 20)), &[400]));
    rows.push(row("brackets", with_length("", &"[".repeat(200 << 10)), &[400]));
    rows.push(row("braces", with_length("", &"{\"a\":".repeat(40 << 10)), &[400]));
    let member = |name: &str, value: &str| body("row").replacen('{', &format!("{{\"{name}\":{value},"), 1);
    rows.push(row(
        "an extension that is deep",
        with_length("", &member("deep", &format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)))),
        &[400],
    ));
    rows.push(row("a member twice", with_length("", &member("id", "\"smuggled\"")), &[400]));
    for (name, json, status) in [
        (
            "data that is deep",
            body("row").replace("{}", &format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))),
            422,
        ),
        ("a number beyond all numbers", body("row").replace("{}", "1e999999999"), 202),
        ("a number of 200,000 digits", body("row").replace("{}", &"9".repeat(200_000)), 202),
        ("half a character", body("row").replace("{}", "\"\\ud800\""), 202),
        ("an id with half a character", body("row").replace("\"row\"", "\"\\ud800\""), 400),
        ("an id with a control character", body("row").replace("\"row\"", "\"\\u0000\""), 422),
        ("a subject that clears a terminal", body("row").replace("\"u\"", "\"\\u001b[2J\""), 422),
        ("a source with a line break", body("row").replace("/idp", "/idp\\n"), 422),
        (
            "an id without an end",
            body("row").replace("\"row\"", &format!("\"{}\"", "x".repeat(200_000))),
            422,
        ),
        ("a mark of the byte order", format!("\u{feff}{}", body("row")), 400),
        ("more than one event", body("row").repeat(2), 400),
        ("nothing", String::new(), 400),
    ] {
        rows.push(row(name, with_length("", &json), &[status]));
    }
    let mut invalid = with_length("", &body("row").replace("/idp", "/XXX")).into_bytes();
    invalid.iter_mut().filter(|byte| **byte == b'X').for_each(|byte| *byte = 0xff);
    rows.push(row("bytes that are no UTF-8", invalid, &[400]));
    rows
}
