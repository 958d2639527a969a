//! Names that a package, a stack, a bus, a queue and the source of an event can all have.

use anyhow::{Result, bail};

/// Queues and functions are named `{stack}-{function}`, and Lambda takes 64 characters.
const LONGEST: usize = 40;

/// Fails with what is wrong with the name.
pub(super) fn check(name: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if let Some(other) = name.chars().find(|c| !allowed(*c)) {
        bail!("it contains {other:?}: use only a-z, 0-9 and `-`");
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        bail!("it must begin with a letter");
    }
    if name.ends_with('-') || name.contains("--") {
        bail!("each `-` must be between two other characters");
    }
    if name.len() > LONGEST {
        bail!("it is longer than {LONGEST} characters");
    }
    if name == "aws" {
        bail!("EventBridge reserves the sources `aws.…`: choose another name");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_valid_everywhere_it_is_used() {
        let longest = "a".repeat(LONGEST);
        for good in ["shop", "my-shop", "a1", "match", &longest] {
            check(good).unwrap();
        }
        let too_long = format!("{longest}a");
        for (bad, why) in [
            ("", "it must begin with a letter"),
            ("1a", "it must begin with a letter"),
            ("-a", "it must begin with a letter"),
            ("Shop", "it contains 'S': use only a-z, 0-9 and `-`"),
            ("a_b", "it contains '_': use only a-z, 0-9 and `-`"),
            ("a b", "it contains ' ': use only a-z, 0-9 and `-`"),
            ("müsli", "it contains 'ü': use only a-z, 0-9 and `-`"),
            ("a-", "each `-` must be between two other characters"),
            ("a--b", "each `-` must be between two other characters"),
            (&too_long, "it is longer than 40 characters"),
            (
                "aws",
                "EventBridge reserves the sources `aws.…`: choose another name",
            ),
        ] {
            assert_eq!(check(bad).unwrap_err().to_string(), why, "{bad}");
        }
    }
}
