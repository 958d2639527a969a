//! Functions that do not live to answer, or answer with an error: `surehand dev` says which, and why.

use super::{dev::Dev, shop::Shop};
use serde_json::json;
use std::{fs, process::Command};
use surehand_test_support::cargo;

/// What the function does, how many of its lines it takes an event after, and what is said of it.
const DEATHS: [(&str, &str, &str); 8] = [
    (
        "os.environ['TABLE_NAME']",
        "",
        "the process ended with exit code 1, before it took an event: KeyError: 'TABLE_NAME'",
    ),
    // What a panic in Rust's `main` writes.
    (
        "sys.exit(\"thread 'main' (7) panicked at src/main.rs:3:5:\\nno table\\nnote: run with `RUST_BACKTRACE=1`\")",
        "",
        "the process ended with exit code 1, before it took an event: panicked at src/main.rs:3:5: no table",
    ),
    (
        "",
        "answer('/error', {'errorType': 'Unhandled', 'errorMessage': 'no stock'})",
        "the invocation failed: no stock",
    ),
    ("", "time.sleep(60)", "timed out after 3 s"),
    ("", "while True: pass", "timed out after 3 s"),
    (
        "",
        "os.abort()",
        "the process ended with SIGABRT, before it answered",
    ),
    (
        "",
        "print('no more', flush=True); os._exit(3)",
        "the process ended with exit code 3, before it answered: no more",
    ),
    // What may not be executed.
    (
        "#!/dev/null",
        "",
        "Couldn't execute the bootstrap binary: [Errno 13] Permission denied: ",
    ),
];

const FUNCTION: &str = "PlaceOrderFunctionName";

/// Gives place-order code that fails, in eight ways, and then its own again.
pub(crate) async fn check(dev: &Dev, shop: &Shop) {
    let own = fs::read(dev.folder().join("packages/place-order.zip")).unwrap();
    for (before, after, reason) in DEATHS {
        let said = dev.output().len();
        shop.update(FUNCTION, package(before, after)).await;
        let answer = shop.invoke(FUNCTION, &json!({})).await;
        assert!(answer.is_err(), "{answer:?}");
        let lines = || -> Vec<String> {
            let output = dev.output();
            let lines = output[said..].lines();
            let lines =
                lines.filter(|line| line.contains(" place-order ") && line.contains(" ERROR "));
            lines.map(str::to_owned).collect()
        };
        super::shop::until(reason, || !lines().is_empty()).await;
        let lines = lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(&format!(" ERROR {reason}")), "{lines:?}");
    }
    shop.update(FUNCTION, own).await;
}

/// A package whose process does the one thing before it takes an event, and the other afterwards.
fn package(before: &str, after: &str) -> Vec<u8> {
    let python = cargo::tools().join("bin/python");
    let (interpreter, before) = match before.strip_prefix("#!") {
        Some(interpreter) => (interpreter.to_owned(), ""),
        None => (python.display().to_string(), before),
    };
    let script = format!(
        "#!{interpreter}
import json, os, sys, time, urllib.request
{before}
api = os.environ['AWS_LAMBDA_RUNTIME_API'] + '/2018-06-01/runtime/invocation/'
event = urllib.request.urlopen(api + 'next')
event.read()
def answer(path, what):
    path = api + event.headers['Lambda-Runtime-Aws-Request-Id'] + path
    urllib.request.urlopen(path, json.dumps(what).encode()).read()
{after}
"
    );
    let mut zip = Command::new(python);
    let program = "import io, sys, zipfile
file = io.BytesIO()
with zipfile.ZipFile(file, 'w') as archive: archive.writestr('bootstrap', sys.argv[1])
sys.stdout.buffer.write(file.getvalue())";
    let output = zip.args(["-c", program, &script]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}
