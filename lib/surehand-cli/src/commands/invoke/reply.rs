//! A function's reply for people: its lines are broken, and nothing of it is changed.

/// Breaks and indents the lines of JSON. Numbers keep their digits and fields their order. What a terminal would
/// take for a command or for another direction of writing is written as an escape.
pub(in crate::commands) fn indented(json: &str) -> String {
    let mut text = String::new();
    let mut depth = 0_usize;
    let mut characters = json.chars().peekable();
    let line = |text: &mut String, depth: usize| {
        text.push('\n');
        text.push_str(&"  ".repeat(depth));
    };
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                text.push('"');
                while let Some(character) = characters.next() {
                    push(&mut text, character);
                    match character {
                        '\\' => text.extend(characters.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '{' | '[' => {
                text.push(character);
                while characters
                    .next_if(|next| next.is_ascii_whitespace())
                    .is_some()
                {}
                if let Some(close) = characters.next_if(|next| matches!(next, '}' | ']')) {
                    text.push(close);
                } else {
                    depth += 1;
                    line(&mut text, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut text, depth);
                text.push(character);
            }
            ',' => {
                text.push(',');
                line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            _ if character.is_ascii_whitespace() => {}
            other => push(&mut text, other),
        }
    }
    text
}

fn push(text: &mut String, character: char) {
    let is_direction = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if character.is_control() || is_direction {
        text.push_str(&format!("\\u{:04x}", u32::from(character)));
    } else {
        text.push(character);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_serde_would_indent_it() {
        for json in [
            r#"{}"#,
            r#"[]"#,
            r#"{"b":[1,{"a":null},[],{}],"a":"x\"{,:\\"}"#,
            r#""text""#,
            "null",
        ] {
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            let again = indented(&serde_json::to_string(&value).unwrap());
            assert_eq!(again, serde_json::to_string_pretty(&value).unwrap());
        }
    }

    #[test]
    fn numbers_and_order_are_kept() {
        let reply = r#"{ "b" : 12345678901234567890123, "a":1.0e400 }"#;
        assert_eq!(
            indented(reply),
            "{\n  \"b\": 12345678901234567890123,\n  \"a\": 1.0e400\n}"
        );
    }

    #[test]
    fn a_terminal_is_not_commanded() {
        assert_eq!(indented("\"\u{9b}31m\u{202e}\""), r#""\u009b31m\u202e""#);
    }
}
