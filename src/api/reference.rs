//! The reference of the custom resources, in Markdown, from the definitions.

use std::fmt::{self, Write};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};

use super::{ConditionType, DeliveringReason, Reason, ReplayReason};

/// Writes the reference of one definition: fields, rules, columns, conditions.
///
/// # Errors
/// The writer's own.
pub fn write_reference(crd: &CustomResourceDefinition, out: &mut impl Write) -> fmt::Result {
    for version in &crd.spec.versions {
        let kind = &crd.spec.names.kind;
        writeln!(out, "# {kind} ({}/{})\n", crd.spec.group, version.name)?;
        let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        let Some(schema) = schema else { continue };
        if let Some(text) = &schema.description {
            writeln!(out, "{}\n", one_line(text))?;
        }
        for (name, part) in schema.properties.iter().flatten() {
            writeln!(out, "## {name}\n\n{}\n", one_line(part.description.as_deref().unwrap_or_default()))?;
            writeln!(out, "| field | type | if left out | meaning |\n|---|---|---|---|")?;
            // Nobody writes a status by hand, so nothing of it is left out.
            write_fields(part, "", name == "spec", out)?;
            writeln!(out)?;
            let mut rules = String::new();
            write_rules(part, name, &mut rules)?;
            if !rules.is_empty() {
                writeln!(out, "What is refused, and what is said:\n\n{rules}")?;
            }
        }
        write_columns(
            version.additional_printer_columns.as_deref().unwrap_or_default(),
            &crd.spec.names.plural,
            out,
        )?;
    }
    match crd.spec.names.kind.as_str() {
        "Webhook" => write_words_of_webhooks(out),
        "Replay" => write_words(
            "Reasons of Ready, Reconciling and Stalled",
            "reason",
            ReplayReason::ALL.iter().map(|r| (r.as_str(), r.meaning())),
            out,
        ),
        // It has no status.
        _ => Ok(()),
    }
}

fn write_words_of_webhooks(out: &mut impl Write) -> fmt::Result {
    write_words(
        "Conditions",
        "condition",
        ConditionType::ALL.iter().map(|c| (c.as_str(), c.meaning())),
        out,
    )?;
    write_words(
        "Reasons of Ready, Verified, Reconciling and Stalled",
        "reason",
        Reason::ALL.iter().map(|r| (r.as_str(), r.meaning())),
        out,
    )?;
    write_words(
        "Reasons of Delivering",
        "reason",
        DeliveringReason::ALL.iter().map(|r| (r.as_str(), r.meaning())),
        out,
    )
}

fn write_fields(schema: &JSONSchemaProps, path: &str, is_written: bool, out: &mut impl Write) -> fmt::Result {
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{path}{name}");
        let is_required = schema.required.iter().flatten().any(|required| required == name);
        let absent = match &field.default {
            Some(default) if !default.0.is_object() => format!("`{}`", default.0),
            None if is_required && is_written => "**refused**".to_owned(),
            Some(_) | None => String::new(),
        };
        let meaning = one_line(field.description.as_deref().unwrap_or_default());
        writeln!(out, "| `{path}` | {} | {absent} | {meaning} |", type_of(field))?;
        write_fields(field, &format!("{path}."), is_written, out)?;
    }
    Ok(())
}

fn type_of(schema: &JSONSchemaProps) -> String {
    if let Some(allowed) = &schema.enum_ {
        return allowed.iter().map(|value| format!("`{}`", value.0)).collect::<Vec<_>>().join(" or ");
    }
    let name = schema.type_.as_deref().unwrap_or("any");
    match (&schema.items, schema.minimum, schema.maximum, schema.format.as_deref()) {
        (Some(JSONSchemaPropsOrArray::Schema(items)), ..) => format!("list of {}", type_of(items)),
        (_, Some(min), Some(max), _) => format!("{name}, {min} to {max}"),
        (_, _, _, Some("date-time")) => "time".to_owned(),
        _ => name.to_owned(),
    }
}

fn write_rules(schema: &JSONSchemaProps, path: &str, out: &mut impl Write) -> fmt::Result {
    for rule in schema.x_kubernetes_validations.iter().flatten() {
        writeln!(out, "- `{path}`: {}", rule.message.as_deref().unwrap_or(&rule.rule))?;
    }
    for (name, field) in schema.properties.iter().flatten() {
        write_rules(field, &format!("{path}.{name}"), out)?;
    }
    match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => write_rules(items, &format!("{path}[]"), out),
        Some(JSONSchemaPropsOrArray::Schemas(_)) | None => Ok(()),
    }
}

fn write_columns(
    columns: &[CustomResourceColumnDefinition],
    plural: &str,
    out: &mut impl Write,
) -> fmt::Result {
    writeln!(out, "## kubectl get {plural}\n\n| column | shows | |\n|---|---|---|")?;
    for column in columns {
        let wide = if column.priority.unwrap_or(0) > 0 { "`-o wide`" } else { "" };
        let meaning = column.description.as_deref().unwrap_or_default();
        writeln!(out, "| {} | `{}` {meaning} | {wide} |", column.name.to_uppercase(), column.json_path)?;
    }
    writeln!(out)
}

fn write_words<'a>(
    title: &str,
    word: &str,
    words: impl Iterator<Item = (&'a str, &'a str)>,
    out: &mut impl Write,
) -> fmt::Result {
    writeln!(out, "## {title}\n\n| {word} | meaning |\n|---|---|")?;
    for (word, meaning) in words {
        writeln!(out, "| `{word}` | {meaning} |")?;
    }
    writeln!(out)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
