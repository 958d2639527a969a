//! Who is answered by what `surehand dev` starts, and who can read what it writes.

use super::{dev::Dev, processes};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::Duration,
};

pub(crate) async fn check(dev: &Dev) {
    check_requests(dev);
    check_functions(dev);
    check_files(&dev.folder());
    check_arguments(dev);
}

/// Sends requests as other users of this machine, web pages and other hosts would.
fn check_requests(dev: &Dev) {
    let address = dev.stack.endpoint.strip_prefix("http://").unwrap();
    let port = address.rsplit_once(':').unwrap().1;
    let key = &*dev.stack.key.id;
    let host = format!("Host: {address}");
    let by = |id: &str| {
        format!(
            "Authorization: AWS4-HMAC-SHA256 Credential={id}/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=0"
        )
    };
    let owner = by(key);
    let get = |path: &str, headers: &[&str]| format!("GET {path} HTTP/1.1\r\n{}", lines(headers));
    let functions = "/2015-03-31/functions";
    let scope = "2/us-east-1/lambda/aws4_request";

    for admitted in [
        get(functions, &[&host, &owner]),
        get(functions, &[&format!("Host: localhost:{port}"), &owner]),
        get("/_ministack/health", &[&host, &owner]),
    ] {
        assert_eq!(status(address, &admitted), 200, "{admitted}");
    }

    // Keys that the emulator itself takes for the owner's, and the key where it is none.
    let former = "LOCAL00000000000000000000000000000000";
    let strangers = ["", "test", "000000000000", former, &key.to_lowercase()];
    for stranger in strangers {
        let refused = get(functions, &[&host, &by(stranger)]);
        assert_eq!(status(address, &refused), 403, "{refused}");
    }
    let elsewhere = [
        format!("Authorization: Bearer {key}"),
        format!("X-Amz-Credential: {key}/{scope}"),
        format!("Authorization: AWS4-HMAC-SHA256 Credential=test/{key}/u/l/a, Signature={key}"),
        format!("{}\r\n{owner}", by("test")),
        format!("{owner}\r\n{}", by("test")),
    ];
    for header in elsewhere {
        let refused = get(functions, &[&host, &header]);
        assert_eq!(status(address, &refused), 403, "{refused}");
    }
    let queries = [
        format!("X-Amz-Credential=test/{scope}"),
        "AWSAccessKeyId=test".to_owned(),
        format!("X-Amz-Credential=test/{scope}&X-Amz-Credential={key}/{scope}"),
        format!("x-amz-credential=test/{scope}&X-Amz-Credential={key}/{scope}"),
    ];
    for query in queries {
        let refused = get(&format!("{functions}?{query}"), &[&host]);
        assert_eq!(status(address, &refused), 403, "{refused}");
    }

    // Pages that the emulator shows without credentials, and what it does without.
    for path in [
        "/health",
        "/_ministack/health",
        "/_ministack/ready",
        "/_ministack/ses/messages",
        "/_ministack/sqs/messages",
        "/_aws/execute-api/a/b/c",
        "/",
    ] {
        let refused = get(path, &[&host]);
        assert_eq!(status(address, &refused), 403, "{refused}");
    }
    for path in [
        "/_ministack/reset",
        "/_ministack/config",
        "/_ministack/rds/iam-auth",
        functions,
    ] {
        for body in [
            "Content-Length: 2\r\n\r\n{}",
            "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        ] {
            let refused = format!(
                "POST {path} HTTP/1.1\r\n{host}\r\nContent-Type: text/plain\r\nConnection: close\r\n{body}"
            );
            assert_eq!(status(address, &refused), 403, "{refused}");
        }
    }

    // A page of another site, also one that knows the key, and one whose name leads here.
    for origin in ["http://site.example", "null", ""] {
        let refused = get(functions, &[&host, &owner, &format!("Origin: {origin}")]);
        assert_eq!(status(address, &refused), 403, "{refused}");
    }
    let names = [
        format!("site.example:{port}"),
        format!("127.0.0.1.site.example:{port}"),
        format!("localhost.site.example:{port}"),
        format!("0.0.0.0:{port}"),
        "bucket.s3.amazonaws.com".to_owned(),
    ];
    for name in names {
        let refused = get(functions, &[&format!("Host: {name}"), &owner]);
        assert_eq!(status(address, &refused), 403, "{refused}");
    }
    let nameless = format!("GET {functions} HTTP/1.0\r\n{owner}\r\n\r\n");
    assert_eq!(status(address, &nameless), 403);
    let two = get(functions, &[&host, "Host: site.example", &owner]);
    assert_eq!(status(address, &two), 400);

    let upgrade = [
        &*host,
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    ];
    let socket = format!(
        "GET /_aws/execute-api/a/b HTTP/1.1\r\nConnection: Upgrade\r\n{}\r\n\r\n",
        upgrade.join("\r\n")
    );
    assert_eq!(status(address, &socket), 403);
}

/// Checks that no function has a key that follows from its name, and that its events are for it alone.
fn check_functions(dev: &Dev) {
    let functions = dev.functions();
    assert!(!functions.is_empty(), "no function runs");
    for function in functions {
        let variable = |name| processes::variable(function.pid, name).unwrap();
        assert!(
            variable("AWS_ACCESS_KEY_ID").len() >= 36,
            "a key that can be guessed"
        );
        assert_ne!(variable("AWS_ACCESS_KEY_ID"), dev.stack.key.id);
        assert_ne!(variable("AWS_SECRET_ACCESS_KEY"), dev.stack.key.secret);
        let api = variable("AWS_LAMBDA_RUNTIME_API");
        let (address, _) = api
            .strip_prefix("http://")
            .unwrap()
            .split_once('/')
            .unwrap();
        for path in [
            "/2018-06-01/runtime/invocation/next",
            "/x/2018-06-01/runtime/invocation/next",
        ] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
            assert_eq!(status(address, &request), 403, "{}", function.function);
        }
        let failure = "POST /2018-06-01/runtime/init/error HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(status(address, failure), 403, "{}", function.function);
    }
}

/// What the run writes; the tests have files of their own beside it.
const FILES: [&str; 8] = [
    "aws.config",
    "deploy.log",
    "emulator.log",
    "env.json",
    "launch.py",
    "packages",
    "stack.json",
    "template.json",
];

/// Checks that the run's folder is its owner's alone, and everything that it writes there.
fn check_files(folder: &Path) {
    check_mode(folder);
    for name in FILES {
        check_all(&folder.join(name));
    }
    // What the emulator writes there is behind its rights.
    check_mode(&folder.join("tmp"));
}

fn check_all(path: &Path) {
    check_mode(path);
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            check_all(&entry.unwrap().path());
        }
    }
}

fn check_mode(path: &Path) {
    let mode = fs::symlink_metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
}

/// Checks that no process has a secret in its arguments, which every user sees.
fn check_arguments(dev: &Dev) {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments);
        for secret in [&dev.stack.key.id, &dev.stack.key.secret] {
            assert!(!arguments.contains(&**secret), "{arguments}");
        }
    }
}

fn lines(headers: &[&str]) -> String {
    format!("{}\r\nConnection: close\r\n\r\n", headers.join("\r\n"))
}

/// Sends a request as it is, and returns the status of the answer.
fn status(address: &str, request: &str) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    std::str::from_utf8(&answer[9..]).unwrap().parse().unwrap()
}
