//! What was probably meant by a name that does not exist.

/// How alike two names must be, of 0 to 1, so that one may be a slip of the other. clap takes the same for its own.
const ALIKE: f64 = 0.7;

/// How many names are offered.
const MOST: usize = 3;

/// Returns `: did you mean ...?` with the names that are most like the given one, or nothing.
pub(super) fn did_you_mean(given: &str, known: &[&str]) -> String {
    let mut alike: Vec<(f64, &str)> = known
        .iter()
        .map(|name| (likeness(given, name), *name))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .collect();
    alike.sort_by(|(a, one), (b, other)| b.total_cmp(a).then(one.cmp(other)));
    let alike: Vec<String> = alike
        .into_iter()
        .take(MOST)
        .map(|(_, name)| format!("`{name}`"))
        .collect();
    match alike.is_empty() {
        true => String::new(),
        false => format!(": did you mean {}?", alike.join(" or ")),
    }
}

/// A full name begins with the stack's, which a short one leaves out, and may end with what CloudFormation adds.
fn likeness(given: &str, name: &str) -> f64 {
    let given = plain(given);
    if !given.is_empty() && plain(name).contains(&given) {
        return 1.0;
    }
    let rest = name.match_indices('-').map(|(at, _)| &name[at + 1..]);
    [name]
        .into_iter()
        .chain(rest)
        .map(|name| strsim::jaro_winkler(&given, &plain(name)))
        .fold(0.0, f64::max)
}

/// Logical ids are written without hyphens and with capitals.
fn plain(name: &str) -> String {
    name.to_ascii_lowercase().replace(['-', '_'], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_offered_what_was_meant() {
        let known = ["place-order", "reserve-stock", "audit"];
        for (given, expected) in [
            ("reserve-stok", ": did you mean `reserve-stock`?"),
            ("ReserveStock", ": did you mean `reserve-stock`?"),
            ("placeorder", ": did you mean `place-order`?"),
            ("zzz", ""),
            ("", ""),
        ] {
            assert_eq!(did_you_mean(given, &known), expected, "{given}");
        }
    }

    #[test]
    fn a_short_name_is_found_in_full_ones() {
        let known = ["shop-audit", "shop-reserve-stock", "test-reserve-stock-1A"];
        assert_eq!(
            did_you_mean("reserve-stock", &known),
            ": did you mean `shop-reserve-stock` or `test-reserve-stock-1A`?"
        );
        assert_eq!(
            did_you_mean("reserve-stok", &known[..2]),
            ": did you mean `shop-reserve-stock`?"
        );
    }
}
