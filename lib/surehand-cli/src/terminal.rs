//! Printing, so that neither what is printed nor who reads it can do harm.
//!
//! A message's sender decides what is in it, and a terminal obeys escape sequences: everything is printed without them.
//! A terminal that is gone, or a reader such as `head` that has read enough, ends nothing: what the command does to a
//! queue is worth more than the line that tells of it.

use std::{
    borrow::Cow,
    fmt::{Display, Write as _},
    io::{self, Write},
};

use console::{Style, Term, measure_text_width};

/// Prints a line to standard output.
macro_rules! say {
    ($($argument:tt)*) => { $crate::terminal::out(&format!($($argument)*)) };
}
pub(crate) use say;

/// Prints lines to standard output.
pub(crate) fn out(text: &str) {
    print(io::stdout().lock(), &plain(text));
}

/// Prints lines with colours of our own to standard output. What comes from outside must be [`plain`] in them.
pub(crate) fn styled(text: &str) {
    print(io::stdout().lock(), text);
}

/// Prints lines to standard error; `mark` is our own, and may have colours.
pub(crate) fn err(mark: impl Display, text: &str) {
    print(io::stderr().lock(), &format!("{mark}{}", plain(text)));
}

fn print(mut stream: impl Write, text: &str) {
    // In one write, so that two processes do not mix their lines.
    let _ = stream
        .write_all(format!("{text}\n").as_bytes())
        .and_then(|()| stream.flush());
}

/// The columns of the terminal that standard error is; none if it is not one.
pub(crate) fn error_width() -> Option<usize> {
    width(&Term::stderr())
}

/// The columns of the terminal that standard output is; none if it is not one.
pub(crate) fn output_width() -> Option<usize> {
    width(&Term::stdout())
}

fn width(term: &Term) -> Option<usize> {
    let (_, columns) = term.is_term().then(|| term.size_checked())??;
    Some(usize::from(columns))
}

/// Styled text, which is broken between words to fit into lines of `width` columns. The first line begins in the column
/// `from`, which must be printed by the caller, the others after `indent` spaces. A word that is longer than a line stays
/// whole, so that it can be copied.
pub(crate) fn wrapped(
    text: &[(Style, String)],
    (from, indent): (usize, usize),
    width: usize,
) -> String {
    let words = text.iter().flat_map(|(style, text)| {
        let words = text.split_whitespace();
        words.map(move |word| (style, word))
    });
    let (mut lines, mut column, mut is_first) = (String::new(), from, true);
    for (style, word) in words {
        let length = measure_text_width(word);
        if is_first {
            is_first = false;
        } else if column + 1 + length > width {
            let _ = write!(lines, "\n{:indent$}", "");
            column = indent;
        } else {
            lines.push(' ');
            column += 1;
        }
        // Writing to a string does not fail.
        let _ = write!(lines, "{}", style.apply_to(word));
        column += length;
    }
    lines
}

/// The text with every character escaped that a terminal would obey instead of showing it, except line feeds: as
/// `\u001b`, which JSON reads as what it was.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_obeyed(c) {
            true => plain.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => plain.push(c),
        }
    }
    plain.into()
}

/// Control characters of both sets, and those that turn the direction of what follows.
fn is_obeyed(c: char) -> bool {
    let turns = ['\u{61c}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}'];
    let is_bidirectional =
        turns.contains(&c) || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (c.is_control() && c != '\n') || is_bidirectional
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        for (text, expected) in [
            ("order 7 für 東京\n", "order 7 für 東京\n"),
            ("\u{1b}[2Kgoes to: queue x", "\\u001b[2Kgoes to: queue x"),
            ("\u{9b}31m\u{7f}\r\t", "\\u009b31m\\u007f\\u000d\\u0009"),
            ("a\u{202e}b\u{2066}c", "a\\u202eb\\u2066c"),
        ] {
            assert_eq!(plain(text), expected);
        }
        for code in (0..0xa0).chain(0x2000..0x2070) {
            let c = char::from_u32(code).unwrap();
            let line = serde_json::json!({ "id": c.to_string() }).to_string();
            let read: serde_json::Value = serde_json::from_str(&plain(&line)).unwrap();
            assert_eq!(read["id"], c.to_string(), "JSON stays JSON");
        }
    }

    #[test]
    fn lines_are_broken_between_words() {
        let text = |text: &str| vec![(Style::new(), text.to_owned())];
        for (said, place, width, expected) in [
            ("no such file", (0, 0), 20, "no such file"),
            ("no such file", (0, 2), 8, "no such\n  file"),
            ("no such file", (6, 2), 8, "no\n  such\n  file"),
            (
                "see https://example.com/a here",
                (0, 1),
                10,
                "see\n https://example.com/a\n here",
            ),
            ("東京 東京", (0, 0), 8, "東京\n東京"),
        ] {
            assert_eq!(wrapped(&text(said), place, width), expected);
        }
        let parts = [text("no such"), text("at=x.rs:1")].concat();
        assert_eq!(wrapped(&parts, (0, 0), 12), "no such\nat=x.rs:1");
    }

    /// A reader that is gone.
    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn a_line_that_nobody_reads_ends_nothing() {
        print(Gone, "it goes on");
    }
}
