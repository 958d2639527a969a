//! Tests of faults that are known and not mended yet.

use std::{any::Any, panic::AssertUnwindSafe};

use futures_util::FutureExt;

const LIST: &str = include_str!("../../known_failures.txt");

/// The faults of `tests/known_failures.txt`: the id of each, and what its test says when it fails.
///
/// # Panics
/// If a line has no sentence, as which any failure would pass.
pub fn known_failures() -> impl Iterator<Item = (&'static str, &'static str)> {
    faults(LIST)
}

fn faults(list: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| match line.split_once(' ') {
        Some((id, sentence)) if !id.is_empty() && !sentence.trim().is_empty() => (id, sentence),
        _ => {
            panic!("tests/known_failures.txt has the line `{line}`, which is no id with a sentence")
        }
    })
}

/// Runs the test of a fault.
///
/// The test says what is right. As long as the fault is on the list, the test must fail, because of
/// this fault; otherwise it is a test like any other.
///
/// # Panics
/// If a fault on the list is fixed, or its test fails for another reason.
pub async fn known_failure(id: &str, test: impl Future<Output = ()>) {
    let fault = known_failures().find(|(listed, _)| *listed == id);
    run(id, fault.map(|(_, sentence)| sentence), test).await;
}

async fn run(id: &str, sentence: Option<&str>, test: impl Future<Output = ()>) {
    let Some(sentence) = sentence else {
        return test.await;
    };
    let Err(panic) = AssertUnwindSafe(test).catch_unwind().await else {
        panic!("{id} does not fail any more: take it off tests/known_failures.txt");
    };
    let said = message(&*panic);
    assert!(
        said.contains(sentence),
        "{id} fails for another reason than `{sentence}`: {said}"
    );
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it panics with a value that is not text")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn outcome(sentence: Option<&str>, test: impl Future<Output = ()>) -> Option<String> {
        let run = AssertUnwindSafe(run("X1", sentence, test));
        let panic = run.catch_unwind().await.err()?;
        Some(message(&*panic).to_owned())
    }

    #[tokio::test]
    async fn a_listed_test_must_fail_for_its_fault() {
        let fault = async || assert_eq!(1, 2, "one is one");
        assert_eq!(outcome(Some("one is one"), fault()).await, None);
        let other = outcome(Some("two is two"), fault()).await.unwrap();
        assert!(other.starts_with("X1 fails for another reason than `two is two`: "));
        let mended = outcome(Some("one is one"), async {}).await.unwrap();
        assert!(mended.contains("take it off"), "{mended}");
    }

    #[test]
    fn a_fault_has_a_sentence() {
        let listed: Vec<_> = faults("# X0 is mended\nX1 one is one\n").collect();
        assert_eq!(listed, [("X1", "one is one")]);
        for wrong in ["X1", "X1 ", " one is one", ""] {
            let list = format!("{wrong}\n");
            assert!(
                std::panic::catch_unwind(|| faults(&list).count()).is_err(),
                "{wrong}"
            );
        }
    }

    #[tokio::test]
    async fn a_test_that_is_not_listed_is_a_test() {
        assert_eq!(outcome(None, async {}).await, None);
        let failed = outcome(None, async { panic!("as it should") }).await;
        assert_eq!(failed.unwrap(), "as it should");
    }
}
