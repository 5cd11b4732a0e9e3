//! Where a body ends: lengths, encodings and chunks.

use super::{Row, body, chunked, chunks, head, row, smuggled, with_length};

/// Where one request ends, two may differ about.
pub(super) fn smuggling() -> Vec<Row> {
    let mut rows = Vec::new();
    let (row_body, hidden) = (body("row"), smuggled());
    let (te, length) =
        ("transfer-encoding: chunked\r\n", |length: usize| format!("content-length: {length}\r\n"));
    let empty_and_hidden = format!("0\r\n\r\n{hidden}");
    let of_length = length(empty_and_hidden.len());
    for (name, headers) in
        [("CL.TE", format!("{of_length}{te}")), ("CL.TE, the other way round", format!("{te}{of_length}"))]
    {
        rows.push(row(name, format!("{}\r\n{empty_and_hidden}", head(&headers)), &[400]));
    }
    for (name, headers) in [
        ("TE.CL", format!("{te}{}", length(4))),
        ("TE.CL, the other way round", format!("{}{te}", length(4))),
    ] {
        rows.push(row(name, format!("{}\r\n{}", head(&headers), chunks(&hidden)), &[400]));
    }
    rows.push(row("a request after a chunked one", chunked("", &row_body) + &hidden, &[202]));
    let both = format!("{}{te}{}\r\n{}{hidden}", head(""), length(4), chunks(&row_body));
    rows.push(row("both lengths, and a request behind", both, &[202]));
    for encoding in [
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "transfer-encoding: identity",
        "transfer-encoding: gzip",
        "transfer-encoding: \"chunked\"",
        "transfer-encoding: chunked;x=y",
        "transfer-encoding : chunked",
        "transfer-encoding:\x0bchunked",
        "transfer-encoding\t: chunked",
        "x: y\r\n transfer-encoding: chunked",
        "x: y\rtransfer-encoding: chunked",
        "transfer-encoding:",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\ntransfer-encoding: x",
    ] {
        rows.push(row(encoding, format!("{}\r\n\r\n{}{hidden}", head(encoding), chunks(&row_body)), &[400]));
    }
    for encoding in [
        "transfer-encoding: CHUNKED",
        "Transfer-Encoding:chunked ",
        "transfer-encoding: identity\r\ntransfer-encoding: chunked",
    ] {
        rows.push(row(encoding, format!("{}\r\n\r\n{}{hidden}", head(encoding), chunks(&row_body)), &[202]));
    }
    let old = head(te).replace("HTTP/1.1", "HTTP/1.0");
    rows.push(row("chunked in HTTP/1.0", format!("{old}\r\n{}{hidden}", chunks(&row_body)), &[400]));
    let n = row_body.len();
    for value in [
        format!("+{n}"),
        format!("-{n}"),
        format!("0x{n:x}"),
        format!("{n} {n}"),
        format!("{n}, {n}"),
        format!("{n};"),
        format!("{n}\r\ncontent-length: {}", n + 1),
        format!("{n}.0"),
        String::new(),
        "99999999999999999999999".to_owned(),
    ] {
        let text = format!("{}content-length: {value}\r\n\r\n{row_body}{hidden}", head(""));
        rows.push(row(format!("content-length: {value}"), text, &[400]));
    }
    let endless = format!("{}content-length: {}\r\n\r\n{row_body}{hidden}", head(""), u64::MAX);
    rows.push(row("a length of all bits", endless, &[431]));
    let twice = format!("content-length: {n}\r\n");
    rows.push(row("the same length twice", with_length(&twice, &row_body), &[202]));
    let short = format!("{}content-length: {}\r\n\r\n{row_body}", head(""), n - 5);
    rows.push(row("a length that is too short", short, &[400, 400]));
    rows
}

/// Chunks and what follows them.
pub(super) fn chunking() -> Vec<Row> {
    let start = format!("{}transfer-encoding: chunked\r\n\r\n", head(""));
    let (row_body, hidden) = (body("row"), smuggled());
    let n = row_body.len();
    let mut rows = Vec::new();
    for (name, text) in [
        ("a size beyond 64 bits", format!("ffffffffffffffffff\r\n{row_body}\r\n0\r\n\r\n")),
        ("a negative size", format!("-{n:x}\r\n{row_body}\r\n0\r\n\r\n")),
        ("a size with 0x", format!("0x{n:x}\r\n{row_body}\r\n0\r\n\r\n")),
        ("no size", format!("\r\n{row_body}\r\n0\r\n\r\n")),
        ("two sizes", format!("{n:x} {n:x}\r\n{row_body}\r\n0\r\n\r\n")),
        ("a bare line feed in an extension", format!("{n:x};a\nb\r\n{row_body}\r\n0\r\n\r\n")),
        ("extensions of 64 KiB", format!("{n:x};{}\r\n{row_body}\r\n0\r\n\r\n", "x".repeat(64 << 10))),
        ("no end of a chunk", format!("{n:x}\r\n{row_body}0\r\n\r\n")),
        ("trailers of 64 KiB", format!("{n:x}\r\n{row_body}\r\n0\r\nx: {}\r\n\r\n", "x".repeat(64 << 10))),
        ("a thousand trailers", format!("{n:x}\r\n{row_body}\r\n0\r\n{}\r\n", "x: y\r\n".repeat(1000))),
        ("a trailer that is none", format!("{n:x}\r\n{row_body}\r\n0\r\nx\0y\r\n\r\n")),
    ] {
        rows.push(row(name, format!("{start}{text}{hidden}"), &[400]));
    }
    for (name, text) in [
        ("an extension", format!("{n:x};a=b\r\n{row_body}\r\n0\r\n\r\n")),
        (
            "trailers that would be headers",
            format!("{n:x}\r\n{row_body}\r\n0\r\ncontent-length: 9\r\nhost: x\r\n\r\n"),
        ),
        ("a size with zeros", format!("0000{n:x}\r\n{row_body}\r\n0\r\n\r\n")),
    ] {
        rows.push(row(name, format!("{start}{text}{hidden}"), &[202]));
    }
    // What follows is taken for a part of the body.
    let endless = format!("{start}ffffffffffffffff\r\n{row_body}\r\n0\r\n\r\n{hidden}");
    rows.push(row("a size of all bits", endless, &[408]));
    rows.push(row("chunks without an end", format!("{start}{n:x}\r\n{row_body}\r\n"), &[408]));
    rows
}
