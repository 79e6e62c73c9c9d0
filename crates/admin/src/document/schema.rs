//! The JSON Schema of a document, derived from the same structs as the reader.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::Document;
use crate::setting::Key;

/// The schema of `scuzzy.toml`.
pub fn document() -> Schema {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Document>()
}

/// The schema with every part in its place: for those who walk through it.
pub(super) fn inlined() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<Document>().to_value()
}

/// The text of the schema, as `scuzzy schema` prints it.
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
}

/// The table of negotiation keys.
pub(super) fn keys(_: &mut SchemaGenerator) -> Schema {
    let property = |key: &Key| {
        let schema = match key.range() {
            Some((low, high)) => json!({ "type": "integer", "minimum": low, "maximum": high }),
            None if key.is_flag() => json!({ "type": "boolean" }),
            None => json!({ "type": "string" }),
        };
        (key.name().to_owned(), schema)
    };
    let properties: Map<String, Value> = Key::ALL.iter().map(property).collect();
    json_schema!({
        "type": "object",
        "description": "Negotiation keys that differ from their defaults.",
        "properties": properties,
        "additionalProperties": false
    })
}

/// Names of the fields of a table's schema; none when it is no table.
pub(super) fn fields(schema: &Value) -> Option<&Map<String, Value>> {
    match schema.get("anyOf").and_then(Value::as_array) {
        Some(any) => any.iter().find_map(fields),
        None => schema.get("properties").and_then(Value::as_object),
    }
}

/// The schema of a list's elements; none when it is no list.
pub(super) fn elements(schema: &Value) -> Option<&Value> {
    match schema.get("anyOf").and_then(Value::as_array) {
        Some(any) => any.iter().find_map(elements),
        None => schema.get("items"),
    }
}
