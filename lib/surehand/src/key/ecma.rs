//! JSON as Powertools for AWS Lambda (TypeScript) writes it: `JSON.stringify(deepSort(value))`.

use serde_json::{Number, Value};

/// The text, or why there is none on which both would agree.
pub(super) fn json_stringify(value: &Value) -> Result<String, &'static str> {
    let mut out = String::new();
    write_value(&mut out, value)?;
    Ok(out)
}

fn write_value(out: &mut String, value: &Value) -> Result<(), &'static str> {
    match value {
        Value::Number(number) => write_number(out, number),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(out, item)?;
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut fields = Vec::new();
            for (name, field) in map {
                check_name(name)?;
                fields.push((name.to_ascii_lowercase(), name, field));
            }
            // Case makes no difference to the order, and which of two such names is first, depends on
            // the order in which they were written.
            fields.sort_unstable_by(|one, other| one.0.cmp(&other.0));
            if fields.windows(2).any(|two| two[0].0 == two[1].0) {
                return Err("an object with names that differ in case alone");
            }
            out.push('{');
            for (index, (_, name, field)) in fields.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write_value(out, field)?;
            }
            out.push('}');
        }
        // Both escape the same characters, in the same way.
        other => out.push_str(&other.to_string()),
    }
    Ok(())
}

/// An object of JavaScript puts numbers before its other names and takes `__proto__` for something else, and
/// languages differ in what they take for the same letter.
fn check_name(name: &str) -> Result<(), &'static str> {
    let is_number = !name.is_empty() && name.bytes().all(|it| it.is_ascii_digit());
    match name.is_ascii() && !is_number && name != "__proto__" {
        true => Ok(()),
        false => Err("an object with a name that is a number, `__proto__`, or not ASCII"),
    }
}

/// All numbers are doubles, and written as
/// [ECMAScript says](https://tc39.es/ecma262/#sec-numeric-types-number-tostring).
fn write_number(out: &mut String, number: &Number) {
    let number = number.as_f64().unwrap_or_default();
    if number == 0.0 {
        return out.push('0');
    }
    if number < 0.0 {
        out.push('-');
    }
    // Both take the fewest digits that read back the same.
    let text = format!("{:e}", number.abs());
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits = digits.replace('.', "");
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    match exponent + 1 {
        point if (count..=21).contains(&point) => {
            out.push_str(&digits);
            (count..point).for_each(|_| out.push('0'));
        }
        point if (1..=21).contains(&point) => {
            let (whole, part) = digits.split_at(usize::try_from(point).unwrap_or_default());
            out.push_str(&format!("{whole}.{part}"));
        }
        point if (-5..=0).contains(&point) => {
            out.push_str("0.");
            (point..0).for_each(|_| out.push('0'));
            out.push_str(&digits);
        }
        _ => {
            let (first, others) = digits.split_at(1);
            out.push_str(first);
            if !others.is_empty() {
                out.push('.');
                out.push_str(others);
            }
            let sign = if exponent < 0 { '-' } else { '+' };
            out.push_str(&format!("e{sign}{}", exponent.abs()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The right-hand sides are what Node 20 printed of `JSON.stringify(deepSort(JSON.parse(left)))`.
    #[test]
    fn agrees_with_node() {
        for (json, node) in [
            ("1", "1"),
            ("-7", "-7"),
            ("12.50", "12.5"),
            ("1.0", "1"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("0.1", "0.1"),
            ("100", "100"),
            ("1e2", "100"),
            ("9007199254740993", "9007199254740992"),
            ("12345678901234567890", "12345678901234567000"),
            ("123456789012345678901234", "1.2345678901234569e+23"),
            ("1e20", "100000000000000000000"),
            ("1e21", "1e+21"),
            ("123e20", "1.23e+22"),
            ("1.5e300", "1.5e+300"),
            ("0.0001", "0.0001"),
            ("0.000001", "0.000001"),
            ("0.0000001", "1e-7"),
            ("1.25e-7", "1.25e-7"),
            ("-2.5e-10", "-2.5e-10"),
            ("5e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("0.0009643268803019789", "0.0009643268803019789"),
            ("123456.789", "123456.789"),
            ("true", "true"),
            (
                r#"[1, "a", null, {"b": [], "B1": {}, "a_": 2.50, "_": 1}]"#,
                r#"[1,"a",null,{"_":1,"a_":2.5,"b":[],"B1":{}}]"#,
            ),
            (
                r#"{"b":1,"C":2,"a":{"z":1,"Y":[1,2]},"":0,"0x":1}"#,
                r#"{"":0,"0x":1,"a":{"Y":[1,2],"z":1},"b":1,"C":2}"#,
            ),
            (
                r#""grün 😀 \u0007 \b\f\n\r\t / \" \\ \u001f""#,
                r#""grün 😀 \u0007 \b\f\n\r\t / \" \\ \u001f""#,
            ),
        ] {
            let value: Value = serde_json::from_str(json).unwrap();
            assert_eq!(json_stringify(&value).as_deref(), Ok(node), "{json}");
        }
    }

    #[test]
    fn what_depends_on_more_than_the_value_has_no_text() {
        for json in [
            r#"{"a": 1, "A": 2}"#,
            r#"[{"7": 1}]"#,
            r#"{"ä": 1}"#,
            r#"{"__proto__": 1}"#,
        ] {
            let value: Value = serde_json::from_str(json).unwrap();
            assert!(json_stringify(&value).is_err(), "{json}");
        }
    }
}
