//! What a function does when it is started.

/// Why the process was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// To handle Lambda's events.
    Serve,
    /// To print the function's description, without an environment and without a network.
    Describe,
    /// To report what handling records would lead to, without any effect.
    Rehearse,
}

/// Set to 1 for [`Mode::Describe`].
const DESCRIBE: &str = "SUREHAND_DESCRIBE";
/// Set to 1 for [`Mode::Rehearse`].
const REHEARSE: &str = "SUREHAND_REHEARSE";

impl Mode {
    /// Returns the mode that the environment asks for.
    pub(crate) fn current() -> Self {
        Self::of(|name| std::env::var(name).ok())
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let asks = |name: &str| variable(name).is_some_and(|value| value == "1");
        if asks(DESCRIBE) {
            Self::Describe
        } else if asks(REHEARSE) {
            Self::Rehearse
        } else {
            Self::Serve
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_value_1_selects_another_mode_than_serving() {
        for (wanted, asked) in [(DESCRIBE, Mode::Describe), (REHEARSE, Mode::Rehearse)] {
            let mode = |value: Option<&str>| {
                Mode::of(|name| value.filter(|_| name == wanted).map(str::to_owned))
            };
            assert_eq!(mode(Some("1")), asked);
            assert_eq!(mode(Some("0")), Mode::Serve);
            assert_eq!(mode(Some("")), Mode::Serve);
            assert_eq!(mode(None), Mode::Serve);
        }
    }
}
