//! YAML as kubectl reads it, with the line of every field.
//!
//! ```text
//! text ── events (granit-parser) ──> Document { value, lines } …, and where it breaks off
//! ```
//!
//! Plain scalars mean what they mean to kubectl, whose YAML is 1.1: `yes` and
//! `on` are booleans, `0o`-less octals are numbers. JSON is YAML, so JSON files
//! pass through here as well. A key that stands twice is a problem here,
//! although kubectl lets the last one win without a word.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};
use serde_json::{Map, Number, Value};

/// One document of a stream.
pub(super) struct Document {
    /// What it says.
    pub(super) value: Value,
    /// The paths of keys that stand twice in their mapping.
    pub(super) duplicates: Vec<(String, usize)>,
    lines: HashMap<String, usize>,
    first_line: usize,
}

impl Document {
    /// The line (from 1) of the field, or of the nearest one around it that is written.
    pub(super) fn line(&self, path: &str) -> usize {
        let mut path = path;
        loop {
            if let Some(line) = self.lines.get(path) {
                return *line;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = path.get(..end).unwrap_or_default(),
                None => return self.first_line,
            }
        }
    }
}

/// Where a text stops being YAML.
pub(super) struct Broken {
    pub(super) line: usize,
    pub(super) message: String,
}

/// More nodes than this, aliases expanded, are an attack and no manifest.
const MOST_NODES: usize = 1_000_000;

/// So are more bytes than this in what aliases repeat and in the paths of fields.
const MOST_BYTES: usize = 64 << 20;

/// The documents up to the end, or up to where the text breaks off.
pub(super) fn documents(text: &str) -> (Vec<Document>, Option<Broken>) {
    let options = granit_parser::options! { emit_comments: false };
    let mut reader = Reader { parser: Parser::new_from_str_with_options(text, options), nodes: 0, bytes: 0 };
    let mut documents = Vec::new();
    loop {
        match reader.document() {
            Ok(Some(document)) => documents.push(document),
            Ok(None) => return (documents, None),
            Err(broken) => return (documents, Some(broken)),
        }
    }
}

struct Reader<'input> {
    parser: Parser<'input, StrInput<'input>>,
    nodes: usize,
    bytes: usize,
}

/// What is gathered while one document is read.
struct Draft {
    anchors: HashMap<usize, Value>,
    lines: HashMap<String, usize>,
    duplicates: Vec<(String, usize)>,
}

impl<'input> Reader<'input> {
    fn document(&mut self) -> Result<Option<Document>, Broken> {
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd) {
                continue;
            }
            if matches!(event, Event::StreamEnd) {
                break;
            }
            let mut draft = Draft { anchors: HashMap::new(), lines: HashMap::new(), duplicates: Vec::new() };
            let first_line = span.start.line();
            let value = self.node(event, span, "", &mut draft)?;
            let Draft { lines, duplicates, .. } = draft;
            return Ok(Some(Document { value, duplicates, lines, first_line }));
        }
        Ok(None)
    }

    fn next(&mut self) -> Result<Option<(Event<'input>, Span)>, Broken> {
        self.parser
            .next()
            .transpose()
            .map_err(|error| Broken { line: error.marker().line(), message: error.info() })
    }

    /// The next event inside a collection, where the text cannot end.
    fn inner(&mut self, within: Span) -> Result<(Event<'input>, Span), Broken> {
        self.next()?.ok_or_else(|| broken(within, "the text ends before this does"))
    }

    fn node(
        &mut self,
        event: Event<'input>,
        span: Span,
        path: &str,
        draft: &mut Draft,
    ) -> Result<Value, Broken> {
        self.count(1, path.len(), span)?;
        #[expect(clippy::wildcard_enum_match_arm, reason = "the enum may grow; only these begin a value")]
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, tag) => (anchor, scalar(&text, style, tag.as_deref())),
            Event::Alias(target) => {
                // Counted before it is copied.
                let (nodes, bytes) = draft.anchors.get(&target).map_or((0, 0), size);
                self.count(nodes, bytes, span)?;
                (0, draft.anchors.get(&target).cloned().unwrap_or_default())
            }
            Event::SequenceStart(_, anchor, _) => (anchor, self.sequence(span, path, draft)?),
            Event::MappingStart(_, anchor, _) => (anchor, self.mapping(span, path, draft)?),
            _ => return Err(broken(span, "a value is missing here")),
        };
        if anchor != 0 {
            draft.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn sequence(&mut self, span: Span, path: &str, draft: &mut Draft) -> Result<Value, Broken> {
        let mut items = Vec::new();
        loop {
            let (event, at) = self.inner(span)?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Value::Array(items));
            }
            let path = format!("{path}[{}]", items.len());
            draft.lines.insert(path.clone(), at.start.line());
            items.push(self.node(event, at, &path, draft)?);
        }
    }

    fn mapping(&mut self, span: Span, path: &str, draft: &mut Draft) -> Result<Value, Broken> {
        let mut fields = Map::new();
        let mut merged = Map::new();
        loop {
            let (event, at) = self.inner(span)?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let Event::Scalar(key, style, ..) = event else {
                return Err(broken(at, "a key must be a string"));
            };
            let is_merge = style == ScalarStyle::Plain && key == "<<";
            let key = key.into_owned();
            let child = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let line = at.start.line();
            let (event, at) = self.inner(span)?;
            if is_merge {
                merge(&mut merged, self.node(event, at, &child, draft)?);
                continue;
            }
            draft.lines.insert(child.clone(), line);
            let value = self.node(event, at, &child, draft)?;
            if fields.insert(key, value).is_some() {
                draft.duplicates.push((child, line));
            }
        }
        for (key, value) in merged {
            fields.entry(key).or_insert(value);
        }
        Ok(Value::Object(fields))
    }

    fn count(&mut self, nodes: usize, bytes: usize, span: Span) -> Result<(), Broken> {
        self.nodes = self.nodes.saturating_add(nodes);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.nodes > MOST_NODES || self.bytes > MOST_BYTES {
            return Err(broken(span, "the text has more values, aliases expanded, than Herald reads"));
        }
        Ok(())
    }
}

fn broken(span: Span, message: &str) -> Broken {
    Broken { line: span.start.line(), message: message.to_owned() }
}

/// `<<: *anchor`, or a list of them: the first to name a key wins.
fn merge(into: &mut Map<String, Value>, from: Value) {
    match from {
        Value::Object(fields) => {
            for (key, value) in fields {
                into.entry(key).or_insert(value);
            }
        }
        Value::Array(items) => items.into_iter().for_each(|item| merge(into, item)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Values, and bytes of text in them.
fn size(value: &Value) -> (usize, usize) {
    let sum = |(nodes, bytes): (usize, usize), value: &Value| {
        let (more_nodes, more_bytes) = size(value);
        (nodes + more_nodes, bytes + more_bytes)
    };
    match value {
        Value::Array(items) => items.iter().fold((1, 0), sum),
        Value::Object(fields) => {
            fields.iter().fold((1, 0), |(nodes, bytes), (key, value)| sum((nodes, bytes + key.len()), value))
        }
        Value::String(text) => (1, text.len()),
        Value::Null | Value::Bool(_) | Value::Number(_) => (1, 0),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    let plain = style == ScalarStyle::Plain && !tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
    if !plain {
        return Value::String(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Value::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

/// Numbers as Go reads them: `1_000`, `0x1f`, `0b11`, `017`, `1.5e3`.
fn number(text: &str) -> Option<Number> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
        return None;
    }
    let digits = text.replace('_', "");
    let (sign, magnitude) = match digits.strip_prefix(['+', '-']) {
        Some(rest) if digits.starts_with('-') => ("-", rest),
        Some(rest) => ("", rest),
        None => ("", digits.as_str()),
    };
    let lower = magnitude.to_ascii_lowercase();
    let radix = [("0x", 16), ("0b", 2), ("0o", 8), ("0", 8)]
        .into_iter()
        .find_map(|(prefix, radix)| Some((lower.strip_prefix(prefix)?, radix)))
        .filter(|(rest, _)| !rest.is_empty())
        .unwrap_or((&lower, 10));
    let (rest, radix) = radix;
    if rest.bytes().all(|b| b.is_ascii_alphanumeric()) {
        let whole = format!("{sign}{rest}");
        if let Ok(integer) = i64::from_str_radix(&whole, radix) {
            return Some(integer.into());
        }
        if let Ok(integer) = u64::from_str_radix(&whole, radix) {
            return Some(integer.into());
        }
    }
    let float = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    let number = digits.chars().all(float).then(|| digits.parse::<f64>().ok())??;
    // On its way through JSON a whole float loses its point.
    match format!("{number}").parse::<i64>() {
        Ok(integer) => Some(integer.into()),
        Err(_) => Number::from_f64(number),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Vec<Value> {
        let (documents, broken) = documents(text);
        assert!(broken.is_none(), "{:?}", broken.map(|b| b.message));
        documents.into_iter().map(|document| document.value).collect()
    }

    #[test]
    fn scalars_mean_what_they_mean_to_kubectl() {
        let table = [
            ("yes", json!(true)),
            ("off", json!(false)),
            ("'yes'", json!("yes")),
            ("!!str yes", json!("yes")),
            ("~", json!(null)),
            ("", json!(null)),
            ("User created", json!("User created")),
            ("3", json!(3)),
            ("-3", json!(-3)),
            ("+3", json!(3)),
            ("1_000", json!(1000)),
            ("0x1F", json!(31)),
            ("017", json!(15)),
            ("0", json!(0)),
            ("1.5", json!(1.5)),
            ("3.0", json!(3)),
            ("1e3", json!(1000)),
            ("3s", json!("3s")),
            ("18446744073709551615", json!(u64::MAX)),
            ("2026-01-02", json!("2026-01-02")),
            ("1.2.3", json!("1.2.3")),
            ("-", json!("-")),
        ];
        for (text, expected) in table {
            // A dash alone would be an empty item.
            let text = if text == "-" { "key: '-'".to_owned() } else { format!("key: {text}") };
            assert_eq!(read(&text), [json!({ "key": expected })], "{text}");
        }
    }

    #[test]
    fn every_field_knows_its_line() {
        let text = "---\n# one\nspec:\n  name: a\n  events:\n  - User created\n  - x\n---\na: {b: 1}\n";
        let (documents, _) = documents(text);
        let lines = ["spec", "spec.name", "spec.events[1]", "spec.uri", "metadata.name", ""];
        assert_eq!(lines.map(|path| documents[0].line(path)), [3, 4, 7, 3, 3, 3]);
        assert_eq!(documents[1].line("a.b"), 9);
    }

    #[test]
    fn anchors_and_merges_are_resolved() {
        let text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a]\n";
        let expected = json!({ "a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": [{"x": 1, "y": 2}] });
        assert_eq!(read(text), [expected]);
    }

    #[test]
    fn aliases_cannot_be_made_to_fill_the_memory() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..12 {
            let item = format!("*a{}", i - 1);
            let items = [item.as_str(); 10].join(", ");
            text.extend(["a", &i.to_string(), ": &a", &i.to_string(), " [", &items, "]\n"]);
        }
        let (_, broken) = documents(&text);
        assert!(broken.is_some_and(|broken| broken.message.contains("aliases")));
    }

    #[test]
    fn long_texts_cannot_be_made_to_fill_the_memory() {
        let long = "x".repeat(1 << 20);
        let repeated = format!("a: &a {long}\nb: [{}]\n", ["*a"; 200].join(", "));
        let under_a_long_key = format!("? {long}\n: [{}]\n", ["1"; 200].join(", "));
        for text in [repeated, under_a_long_key] {
            assert!(documents(&text).1.is_some_and(|broken| broken.message.contains("than Herald reads")));
        }
    }

    #[test]
    fn no_nesting_is_too_deep_for_the_stack() {
        // The parser gives up long before.
        for (open, count) in [("[", 100_000), ("{a: ", 100_000), ("- ", 10_000), ("? ", 10_000)] {
            let (_, broken) = documents(&open.repeat(count));
            assert!(broken.is_some(), "{open}");
        }
        assert_eq!(read(&format!("{}{}", "[".repeat(127), "]".repeat(127))).len(), 1);
    }

    #[test]
    fn what_comes_before_the_break_is_still_read() {
        let (documents, broken) = documents("a: 1\n---\nb: [1, 2\nc: }\n");
        assert_eq!(documents.len(), 1);
        assert!(broken.is_some_and(|broken| broken.line >= 3 && !broken.message.is_empty()));
    }

    #[test]
    fn json_is_read_however_it_is_indented() {
        assert_eq!(read("{\n\t\"a\": [\n\t\t1,\n\t\t\"\\u00fc\\/\"\n\t]\n}\n"), [json!({ "a": [1, "ü/"] })]);
    }
}
