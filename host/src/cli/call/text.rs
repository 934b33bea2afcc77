//! Bytes as text: protobuf's JSON has them in base64, which nobody reads.
//!
//! Walks a JSON value beside its descriptor, and turns each bytes field around. Bytes that are not
//! UTF-8 stay in base64, behind the mark `base64:`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::Value;

const MARK: &str = "base64:";

/// Text to base64, for a request.
pub(super) fn encode(descriptor: &MessageDescriptor, json: &mut Value) {
    walk(descriptor, json, &|text| match text.strip_prefix(MARK) {
        Some(already) => already.to_owned(),
        None => STANDARD.encode(text),
    });
}

/// Base64 to text, for a reply.
pub(super) fn decode(descriptor: &MessageDescriptor, json: &mut Value) {
    walk(descriptor, json, &|text| {
        let bytes = STANDARD.decode(text).ok();
        match bytes.and_then(|bytes| String::from_utf8(bytes).ok()) {
            Some(decoded) => decoded,
            None => format!("{MARK}{text}"),
        }
    });
}

fn walk(descriptor: &MessageDescriptor, json: &mut Value, turn: &impl Fn(&str) -> String) {
    let Value::Object(fields) = json else { return };
    for (name, value) in fields {
        let field =
            descriptor.get_field_by_json_name(name).or_else(|| descriptor.get_field_by_name(name));
        if let Some(field) = field {
            walk_field(&field, value, turn);
        }
    }
}

fn walk_field(field: &FieldDescriptor, json: &mut Value, turn: &impl Fn(&str) -> String) {
    match (field.kind(), json) {
        (_, Value::Array(items)) => {
            for item in items {
                walk_field(field, item, turn);
            }
        }
        (Kind::Bytes, Value::String(text)) => *text = turn(text),
        (Kind::Message(entry), Value::Object(entries)) if field.is_map() => {
            let value = entry.map_entry_value_field();
            for (_, item) in entries {
                walk_field(&value, item, turn);
            }
        }
        (Kind::Message(message), value) => walk(&message, value, turn),
        _ => {}
    }
}
