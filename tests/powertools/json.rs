//! JSON of every spelling.

use fastrand::Rng;

/// A random JSON text. Integers stay within 64 bits and floats are finite, as Rust has them; Python
/// has no such bounds.
pub(crate) fn random(rng: &mut Rng, depth: usize) -> String {
    let kinds = if depth == 0 { 5 } else { 7 };
    match rng.usize(..kinds) {
        0 => ["null", "true", "false"][rng.usize(..3)].to_owned(),
        1 => integer(rng),
        2 | 3 => float(rng),
        4 => string(rng),
        5 => {
            let items = (0..rng.usize(..4)).map(|_| random(rng, depth - 1));
            format!("[{}]", items.collect::<Vec<_>>().join(","))
        }
        _ => {
            let count = rng.usize(..5);
            let fields = (0..count).map(|_| format!("{}: {}", string(rng), random(rng, depth - 1)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

fn integer(rng: &mut Rng) -> String {
    match rng.usize(..4) {
        0 => rng.u8(..).to_string(),
        1 => rng.i64(..).to_string(),
        2 => rng.u64(..).to_string(),
        _ => [i64::MIN.to_string(), u64::MAX.to_string()][rng.usize(..2)].clone(),
    }
}

fn float(rng: &mut Rng) -> String {
    match rng.usize(..5) {
        // Any double, in the fewest digits.
        0 => loop {
            let float = f64::from_bits(rng.u64(..));
            if float.is_finite() {
                break format!("{float:?}");
            }
        },
        // An amount of money.
        1 => format!("{}.{:02}", rng.u32(..100_000), rng.u8(..100)),
        // Where Python turns to the scientific notation.
        2 => format!("{}e{}", rng.u32(1..10_000), rng.i32(-12..20)),
        // More digits than a double has.
        3 => format!("-{}.{}{}", rng.u16(..), rng.u64(..), rng.u64(..)),
        _ => format!("{}.{}E{:+}", rng.u8(..10), rng.u64(..), rng.i32(-320..300)),
    }
}

fn string(rng: &mut Rng) -> String {
    let characters = (0..rng.usize(..8)).map(|_| match rng.usize(..6) {
        0 => rng.char('\0'..' '),
        1 => ['"', '\\', '/', '\u{7f}', '\u{2028}'][rng.usize(..5)],
        2 => rng.char('\u{80}'..'\u{800}'),
        3 => rng.char('\u{e000}'..='\u{ffff}'),
        4 => rng.char('\u{10000}'..='\u{10ffff}'),
        _ => rng.char(' '..'\u{7f}'),
    });
    serde_json::Value::from(characters.collect::<String>()).to_string()
}
