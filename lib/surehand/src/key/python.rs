//! JSON as Python writes it: `json.dumps(value, sort_keys=True)`.

use serde_json::{Number, Value};
use std::fmt::Write;

pub(super) fn json_dumps(value: &Value) -> String {
    let mut out = String::new();
    write_value(&mut out, value);
    out
}

/// Whether the value tells what Python wrote. Integers beyond 64 bits, and `-0`, are integers in Python, and have
/// become floats here.
pub(super) fn check(value: &Value) -> Result<(), &'static str> {
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap_or_default();
            let is_small =
                (-9_223_372_036_854_775_808.0..18_446_744_073_709_551_616.0).contains(&float);
            match is_small
                && float != -9_223_372_036_854_775_808.0
                && !(float == 0.0 && float.is_sign_negative())
            {
                true => Ok(()),
                false => Err("a number beyond 64 bits, or -0"),
            }
        }
        Value::Array(items) => items.iter().try_for_each(check),
        Value::Object(map) => map.values().try_for_each(check),
        _ => Ok(()),
    }
}

fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(out, number),
        Value::String(text) => write_string(out, text),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_value(out, item);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut fields: Vec<_> = map.iter().collect();
            // Python compares strings by code point, which is the order of UTF-8's bytes.
            fields.sort_unstable_by_key(|(name, _)| *name);
            out.push('{');
            for (index, (name, field)) in fields.into_iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_string(out, name);
                out.push_str(": ");
                write_value(out, field);
            }
            out.push('}');
        }
    }
}

/// ASCII alone: everything else as UTF-16 escapes.
fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(character),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

/// Python's `repr` of a float: the shortest digits that read back the same, as Rust has them, but
/// in scientific notation below 1e-4 and from 1e16.
fn write_number(out: &mut String, number: &Number) {
    if !number.is_f64() {
        let _ = write!(out, "{number}");
        return;
    }
    let float = number.as_f64().unwrap_or_default();
    let magnitude = float.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{float:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or_default();
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(out, "{digits}e{sign}{:02}", exponent.abs());
    } else {
        let _ = write!(out, "{float:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The right-hand sides are what CPython 3.11 printed.
    #[test]
    fn agrees_with_python() {
        for (json, python) in [
            (
                r#"{"b":1,"a":[true,null,"x"]}"#,
                r#"{"a": [true, null, "x"], "b": 1}"#,
            ),
            (
                r#""grün 😀 \u0007 / \u007f""#,
                r#""gr\u00fcn \ud83d\ude00 \u0007 / \u007f""#,
            ),
            ("1.0", "1.0"),
            ("0.1", "0.1"),
            ("1e22", "1e+22"),
            ("1e16", "1e+16"),
            ("123456789012345680.0", "1.2345678901234568e+17"),
            ("1e15", "1000000000000000.0"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("-2.5e-7", "-2.5e-07"),
            ("-0.0", "-0.0"),
            // Floats that are read by less than the nearest lose their last digit.
            ("0.0009643268803019789", "0.0009643268803019789"),
            ("1.375897983616164e+189", "1.375897983616164e+189"),
            ("12345678901234567890", "12345678901234567890"),
            ("[]", "[]"),
            ("{}", "{}"),
        ] {
            let value: Value = serde_json::from_str(json).unwrap();
            assert_eq!(json_dumps(&value), python, "{json}");
        }
    }
}
