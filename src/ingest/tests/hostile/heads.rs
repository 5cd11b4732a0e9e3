//! The first line, and the lines after it.

use super::{Row, TARGET, body, good, row, smuggled, with_length};

/// Lines of the header.
pub(super) fn headers() -> Vec<Row> {
    let mut rows = Vec::new();
    for line in [
        "x: a\rb",
        "x: a\0b",
        "x",
        ": y",
        "x: a\r\n b",
        "x y: z",
        "x\u{e4}: y",
        "x(): y",
        "x: \x7f",
        "x: \x01",
    ] {
        rows.push(row(
            format!("{line:?}"),
            with_length(&format!("{line}\r\n"), &body("row")) + &smuggled(),
            &[400],
        ));
    }
    rows.push(row("line feeds alone", good().replace("\r\n", "\n"), &[202]));
    rows.push(row("blank lines before", format!("\r\n\r\n{}", good()), &[202]));
    rows.push(row("a value beyond ASCII", with_length("x: \u{e4}\r\n", &body("row")), &[202]));
    rows.push(row("two hundred headers", with_length(&"x: y\r\n".repeat(200), &body("row")), &[431]));
    rows.push(row(
        "a header of 40 KiB",
        with_length(&format!("x: {}\r\n", "x".repeat(40 << 10)), &body("row")),
        &[431],
    ));
    rows.push(row("no host", good().replace("host: localhost\r\n", "") + &smuggled(), &[400]));
    rows.push(row("two hosts", with_length("host: another\r\n", &body("row")) + &smuggled(), &[400]));
    rows.push(row("two tokens", with_length("authorization: Bearer bad\r\n", &body("row")), &[401]));
    rows.push(row("two content types", with_length("content-type: text/plain\r\n", &body("row")), &[400]));
    rows
}

/// The first line.
pub(super) fn lines() -> Vec<Row> {
    let mut rows = Vec::new();
    let aimed = |target: &str| good().replace(TARGET, target);
    for (target, status) in [
        (format!("https://localhost{TARGET}"), 202),
        (format!("https://another:1{TARGET}"), 202),
        (format!("{TARGET}?a=b"), 202),
        (format!("/{TARGET}"), 404),
        (format!("{TARGET}/"), 404),
        (format!("{TARGET}%00"), 404),
        (format!("/x/..{TARGET}"), 404),
        ("/v1/namespaces/identity%2fevents".to_owned(), 404),
        ("/v1/namespaces/IDENTITY/events".to_owned(), 404),
        ("*".to_owned(), 404),
        (format!("{TARGET}\0"), 400),
        (format!("{TARGET} x"), 400),
        (String::new(), 400),
        (format!("/{}", "x".repeat(40 << 10)), 431),
    ] {
        let shown: String = target.chars().take(60).collect();
        rows.push(row(format!("target {shown:?}"), aimed(&target), &[status]));
    }
    rows.push(row("authority form", "CONNECT localhost:443 HTTP/1.1\r\nhost: localhost\r\n\r\n", &[404]));
    rows.push(row("a method that is none", good().replace("POST", "P(ST"), &[400]));
    rows.push(row("a method that is long", good().replace("POST", &"P".repeat(1000)), &[405]));
    let old = good().replace("HTTP/1.1", "HTTP/1.0");
    rows.push(row("HTTP/1.0", format!("{old}{}", smuggled()), &[202]));
    let kept = old.replace("host: localhost", "connection: keep-alive");
    rows.push(row("HTTP/1.0, kept alive, without host", format!("{kept}{kept}"), &[202, 202]));
    for version in ["HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "http/1.1", "HTTP/1", "HTTP/1.1x"] {
        rows.push(row(version, good().replace("HTTP/1.1", version), &[400]));
    }
    rows.push(row("HTTP/0.9", format!("GET {TARGET}\r\n"), &[400]));
    rows.push(row("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", &[]));
    rows.push(row(
        "an upgrade to HTTP/2",
        with_length(
            "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
            &body("row"),
        ),
        &[202],
    ));
    rows.push(row("two hundred requests at once", good().repeat(200), &[202; 200]));
    rows.push(row("a line without an end", "P".repeat(20 << 10), &[]));
    rows
}
