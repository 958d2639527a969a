//! JSON of every shape, and the ways to spell it.

use proptest::prelude::*;
use serde_json::{Map, Number, Value};

/// Texts with what JSON escapes, with characters of every plane, and ordinary ones.
pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]{0,3}",
        "[ -~]{0,8}",
        "[\u{0}-\u{1f}\"\\\\/\u{7f}\u{2028}]{0,4}",
        any::<String>(),
    ]
}

/// Texts that are names of something.
pub(crate) fn name() -> impl Strategy<Value = String> {
    text().prop_filter("a name is not empty", |text| !text.is_empty())
}

fn number() -> impl Strategy<Value = Number> {
    // A number that is not an integer in 64 bits is a float. `-0` is a float to serde and an
    // integer to others.
    let float = prop_oneof![any::<f64>(), -1e20..1e20, -1e-3..1e-3];
    prop_oneof![
        any::<i64>().prop_map(Number::from),
        any::<u64>().prop_map(Number::from),
        (-9_i64..9).prop_map(Number::from),
        float.prop_filter_map("a finite number", Number::from_f64),
    ]
}

pub(crate) fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    scalar.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(text(), inner, 0..5)
                .prop_map(|fields| Value::from(Map::from_iter(fields))),
        ]
    })
}

/// The same value in another spelling: fields in another order, blanks, escapes.
pub(crate) fn respelled(value: &Value, random: &mut fastrand::Rng) -> String {
    let mut out = String::new();
    spell(&mut out, value, random);
    out
}

fn spell(out: &mut String, value: &Value, random: &mut fastrand::Rng) {
    blank(out, random);
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            random.shuffle(&mut fields);
            out.push('{');
            for (index, (name, field)) in fields.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                blank(out, random);
                spell_text(out, name, random);
                blank(out, random);
                out.push(':');
                spell(out, field, random);
            }
            blank(out, random);
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                spell(out, item, random);
            }
            blank(out, random);
            out.push(']');
        }
        Value::String(text) => spell_text(out, text, random),
        scalar => out.push_str(&scalar.to_string()),
    }
    blank(out, random);
}

fn spell_text(out: &mut String, text: &str, random: &mut fastrand::Rng) {
    out.push('"');
    for character in text.chars() {
        let must_escape = character < ' ' || "\"\\".contains(character);
        if character == '/' && random.bool() {
            out.push_str("\\/");
        } else if must_escape || random.u8(..4) == 0 {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let escape = if random.bool() {
                    format!("\\u{unit:04x}")
                } else {
                    format!("\\u{unit:04X}")
                };
                out.push_str(&escape);
            }
        } else {
            out.push(character);
        }
    }
    out.push('"');
}

fn blank(out: &mut String, random: &mut fastrand::Rng) {
    for _ in 0..random.u8(..8).saturating_sub(5) {
        out.push(*random.choice(&[' ', '\n', '\t', '\r']).unwrap_or(&' '));
    }
}
