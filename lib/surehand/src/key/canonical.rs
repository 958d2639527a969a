//! JSON in one spelling: a replay may write an event with its fields in another order, and it is the
//! same event.

use serde_json::{Value, value::RawValue};
use std::collections::BTreeMap;

/// As deep as serde_json reads values.
const MAX_DEPTH: u8 = 128;

/// The text with every object's keys in order and without blanks. Numbers stay as they are written:
/// as values, those beyond 64 bits would lose their last digits, and two of them look like one.
///
/// None if it is not JSON, or too deep.
pub(super) fn json(text: &str) -> Option<String> {
    let value: &RawValue = serde_json::from_str(text).ok()?;
    let mut out = String::with_capacity(text.len());
    write(&mut out, value.get(), MAX_DEPTH)?;
    Some(out)
}

fn write(out: &mut String, json: &str, depth: u8) -> Option<()> {
    let inside = depth.checked_sub(1)?;
    match json.as_bytes().first()? {
        b'{' => {
            // Of a name that is there twice the last one counts, as for serde_json.
            let fields: BTreeMap<String, &RawValue> = serde_json::from_str(json).ok()?;
            out.push('{');
            for (index, (name, field)) in fields.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(name).to_string());
                out.push(':');
                write(out, field.get(), inside)?;
            }
            out.push('}');
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(json).ok()?;
            out.push('[');
            for (index, item) in items.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(out, item.get(), inside)?;
            }
            out.push(']');
        }
        b'"' => {
            let text: String = serde_json::from_str(json).ok()?;
            out.push_str(&Value::from(text).to_string());
        }
        _ => out.push_str(json),
    }
    Some(())
}
