//! Wrong usage, of every command: one line that says what, where and what to do, and an exit code.

use super::world::{World, said};
use serde_json::Value;
use std::fs;
use surehand_test_support::proxy::{self, Call, Fate, Moment};

/// Runs it, and checks that it says the one line and nothing else; `{endpoint}` is where it asked.
async fn check(world: &World, arguments: &[&str], code: i32, line: &str) {
    let said = world.run(arguments).await;
    let line = line.replace("{endpoint}", &world.sqs.endpoint);
    assert_eq!(
        said.err,
        format!("error: {line}\n"),
        "{arguments:?}: {said:?}"
    );
    assert_eq!(said.code, Some(code), "{arguments:?}: {said:?}");
    assert_eq!(said.out, "", "{arguments:?}: {said:?}");
}

/// Each command that takes a queue, with all else that it needs.
fn with_queue<'a>(queue: &[&'a str]) -> Vec<Vec<&'a str>> {
    let commands: [&[&str]; 8] = [
        &["show"],
        &["groups"],
        &["pull", "--out", "letters"],
        &["plan", "--out", "plan"],
        &["edit", "--id", "m", "--plan", "plan"],
        &["purge"],
        &["purge", "--yes"],
        &["move", "--to", "misuse", "--yes"],
    ];
    commands.map(|command| [command, queue].concat()).to_vec()
}

#[tokio::test]
async fn a_queue_that_is_none_is_one_line() {
    let world = World::new("misuse").await;
    let usage = |arguments: &[&str]| format!("(see `surehand dlq {} --help`)", arguments[0]);
    for arguments in with_queue(&[]) {
        check(
            &world,
            &arguments,
            2,
            "no queue: pass --queue or --function",
        )
        .await;
    }
    for arguments in with_queue(&["--queue", "misuse-dql"]) {
        let said = world.run(&arguments).await;
        let endpoint = &world.sqs.endpoint;
        // Other tests have their queues there, too.
        let line =
            format!("error: no queue `misuse-dql` at {endpoint}: the queues are misuse-dlq, ");
        assert!(said.err.starts_with(&line), "{arguments:?}: {said:?}");
        assert_eq!(said.err.lines().count(), 1, "{arguments:?}: {said:?}");
        assert_eq!(
            (said.code, &*said.out),
            (Some(1), ""),
            "{arguments:?}: {said:?}"
        );
    }
    for arguments in with_queue(&["--queue", "misuse-dlq", "--function", "f"]) {
        let line = "the argument '--queue <QUEUE>' cannot be used with '--function <FUNCTION>'";
        check(
            &world,
            &arguments,
            2,
            &format!("{line} {}", usage(&arguments)),
        )
        .await;
    }
    for queue in ["arn:aws:sqs:us-east-1:1", "https://", "two words", ""] {
        for arguments in with_queue(&["--queue", queue]) {
            let said = format!(
                "invalid value '{queue}' for '--queue <QUEUE>': use a queue's name, URL or ARN"
            );
            check(
                &world,
                &arguments,
                2,
                &format!("{said} {}", usage(&arguments)),
            )
            .await;
        }
    }
    let url = format!("{}/000000000000/gone", world.sqs.endpoint);
    for arguments in with_queue(&["--queue", &url]) {
        let said = world.run(&arguments).await;
        assert_eq!(said.code, Some(1), "{arguments:?}: {said:?}");
        assert_eq!(said.err.lines().count(), 1, "{arguments:?}: {said:?}");
        assert!(
            said.err.contains("does not exist"),
            "{arguments:?}: {said:?}"
        );
        assert!(!said.err.contains("Error {"), "{arguments:?}: {said:?}");
    }
    for file in ["letters", "plan"] {
        assert!(!world.path(file).exists(), "{file} is left");
    }
}

#[tokio::test]
async fn a_queue_that_is_no_dead_letter_queue_is_not_read() {
    let world = World::new("working").await;
    let message = (super::world::body("a"), None);
    world.send(&world.queues.queue, &[message]).await;
    for arguments in with_queue(&["--queue", "working"]) {
        if arguments[0] == "move" {
            continue;
        }
        let line = "working has a redrive policy of its own (to working-dlq, after 5 receives), and each read \
                    would count as a receive: name its dead-letter queue, or pass --despite-redrive-policy";
        check(&world, &arguments, 1, line).await;
    }
    let despite = ["groups", "--queue", "working", "--despite-redrive-policy"];
    assert!(world.ends(0, &despite).await.contains("OrderPlaced"));
}

#[tokio::test]
async fn a_plan_or_journal_that_is_none_is_one_line() {
    let world = World::new("files").await;
    world.park("no such sku", &["a", "b"]).await;
    for out in ["p", "other"] {
        world
            .ends(0, &["plan", "--queue", "files-dlq", "--out", out])
            .await;
    }
    world
        .ends(0, &["apply", "other", "--yes", "--no-ramp"])
        .await;
    let plan = world.read("p");
    let id = |text: &str| {
        let header: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        header["plan"].as_str().unwrap().to_owned()
    };
    fs::write(world.path("torn"), &plan[..plan.len() - 20]).unwrap();
    fs::write(world.path("empty"), "").unwrap();
    fs::write(world.path("garbage"), "{}\n").unwrap();
    fs::write(world.path("elsewhere"), plan.replace("files-dlq", "gone")).unwrap();
    fs::write(world.path("p.journal"), "nonsense\n").unwrap();
    fs::create_dir(world.path("folder")).unwrap();

    for command in ["apply", "resume", "undo"] {
        for yes in [&[][..], &["--yes"]] {
            let ends = async |plan: &str, line: &str| {
                check(&world, &[&[command, plan][..], yes].concat(), 1, line).await;
            };
            ends(
                "nothing",
                "cannot read nothing: No such file or directory (os error 2)",
            )
            .await;
            ends("empty", "empty: the plan is empty").await;
            ends(
                "garbage",
                "garbage: line 1 of the plan: missing field `plan` at line 1 column 2",
            )
            .await;
            let torn = world.run(&[command, "torn"]).await;
            assert!(
                torn.err
                    .starts_with("error: torn: line 3 of the plan: EOF while parsing"),
                "{torn:?}"
            );
            assert_eq!(
                (torn.code, torn.err.lines().count()),
                (Some(1), 1),
                "{torn:?}"
            );
        }
    }
    check(
        &world,
        &["apply", "elsewhere", "--yes"],
        1,
        "cannot read gone, which the plan is for, at {endpoint}: AWS.SimpleQueueService.NonExistentQueue: The specified queue does not exist.",
    )
    .await;
    assert!(!world.path("elsewhere.journal").exists());
    check(
        &world,
        &["resume", "elsewhere"],
        1,
        "no journal elsewhere.journal: begin with `surehand dlq apply elsewhere`",
    )
    .await;
    check(
        &world,
        &["undo", "elsewhere"],
        1,
        "no journal elsewhere.journal: nothing was applied",
    )
    .await;
    let foreign = format!(
        "other.journal is the journal of plan {}, not of plan {}",
        id(&world.read("other")),
        id(&plan)
    );
    for command in ["resume", "undo"] {
        for yes in [&[][..], &["--yes"]] {
            let arguments = [&[command, "p", "--journal", "other.journal"][..], yes].concat();
            check(&world, &arguments, 1, &foreign).await;
            let said = "journal p.journal, line 1: expected ident at line 1 column 2";
            check(&world, &[&[command, "p"][..], yes].concat(), 1, said).await;
        }
    }
    check(
        &world,
        &["edit", "--queue", "files", "--id", "a", "--plan", "p"],
        1,
        &format!(
            "p is for {}, not for {}",
            world.queues.letters, world.queues.queue
        ),
    )
    .await;
    let folder = ["plan", "--queue", "files-dlq", "--out", "no/such/folder"];
    check(
        &world,
        &folder,
        1,
        "cannot create no/such/folder: No such file or directory (os error 2)",
    )
    .await;
    // Nothing of it has changed anything.
    assert_eq!(world.depths().await, (0, 2));
}

#[tokio::test]
async fn a_service_that_refuses_is_one_line() {
    let world = World::new("refused").await;
    world.park("no such sku", &["a"]).await;
    world
        .ends(0, &["plan", "--queue", "refused-dlq", "--out", "p"])
        .await;
    let letters = world.queues.letters.clone();
    let denied = r#"{"__type": "com.amazonaws.sqs#AccessDeniedException", "message": "you are not authorized"}"#;
    for (arguments, action, said) in [
        (&["list"][..], "ListQueues", "cannot list the queues at "),
        (
            &["show", "-q", "refused-dlq"],
            "GetQueueUrl",
            "cannot find queue `refused-dlq` at ",
        ),
        (
            &["groups", "-q", &letters],
            "GetQueueAttributes",
            "cannot read refused-dlq at ",
        ),
        (
            &["groups", "-q", &letters],
            "ReceiveMessage",
            "cannot read refused-dlq at ",
        ),
        (
            &["apply", "p", "--yes"],
            "GetQueueAttributes",
            "cannot read refused-dlq, which the plan is for, at ",
        ),
        (
            &["move", "-q", &letters, "--to", "refused", "--yes"],
            "StartMessageMoveTask",
            "SQS did not start the move: ",
        ),
    ] {
        let endpoint = proxy::start(&world.sqs.endpoint, move |call: &Call| {
            match (&*call.action, call.moment) {
                (it, Moment::Before) if it == action => Fate::Answer(400, denied.to_owned()),
                _ => Fate::Pass,
            }
        });
        let mut command = world.command(arguments);
        let child = command.env("AWS_ENDPOINT_URL", endpoint).spawn().unwrap();
        let said_it = super::world::said(child).await;
        assert_eq!(said_it.code, Some(1), "{arguments:?}: {said_it:?}");
        assert_eq!(said_it.err.lines().count(), 1, "{arguments:?}: {said_it:?}");
        assert!(
            said_it.err.starts_with(&format!("error: {said}")),
            "{arguments:?}: {said_it:?}"
        );
        assert!(
            said_it
                .err
                .ends_with("AccessDeniedException: you are not authorized\n"),
            "{arguments:?}: {said_it:?}"
        );
    }
    assert_eq!(world.depths().await, (1, 0));
}

#[tokio::test]
async fn a_cloud_that_cannot_be_reached_is_one_line() {
    let world = World::new("unreachable").await;
    fs::write(
        world.path("p"),
        r#"{"plan": "1", "queue": "http://127.0.0.1:1/1/q", "created": "2026-11-21T10:00:00Z"}"#,
    )
    .unwrap();
    for (name, value, line) in [
        (
            "AWS_ENDPOINT_URL",
            "nonsense",
            "AWS_ENDPOINT_URL is `nonsense`, which is not a URL: set it to one such as http://127.0.0.1:4566",
        ),
        (
            "AWS_REGION",
            "",
            "no region: set AWS_REGION, or start `surehand dev` here",
        ),
        (
            "AWS_ACCESS_KEY_ID",
            "",
            "no credentials for {endpoint}: log in, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        (
            "AWS_ENDPOINT_URL",
            "http://127.0.0.1:1",
            "Connection refused (os error 111)",
        ),
    ] {
        for arguments in [
            &["list"][..],
            &["show", "-q", "q"],
            &["groups", "--function", "f"],
            &["pull", "-q", "q", "--out", "letters"],
            &["plan", "-q", "q", "--out", "plan"],
            &["edit", "-q", "q", "--id", "m", "--plan", "plan"],
            &["purge", "-q", "q", "--yes"],
            &["move", "-q", "q", "--to", "r", "--yes"],
            &["apply", "p", "--yes"],
        ] {
            let mut command = world.command(arguments);
            let said = said(command.env(name, value).spawn().unwrap()).await;
            let line = line.replace("{endpoint}", &world.sqs.endpoint);
            assert_eq!(said.code, Some(1), "{name}={value} {arguments:?}: {said:?}");
            assert_eq!(
                said.err.lines().count(),
                1,
                "{name}={value} {arguments:?}: {said:?}"
            );
            assert!(
                said.err.starts_with("error: "),
                "{name}={value} {arguments:?}: {said:?}"
            );
            assert!(
                said.err.trim_end().ends_with(&line),
                "{name}={value} {arguments:?}: {said:?}"
            );
            assert_eq!(said.out, "", "{name}={value} {arguments:?}");
        }
    }
}

/// What looks at a queue of AWS, or changes it, was told so: a `surehand dev` that has ended does not make it that.
#[tokio::test]
async fn aws_is_only_used_if_it_was_asked_for() {
    let world = World::planned("asked", 1).await;
    for arguments in [
        &["list"][..],
        &["groups", "-q", "asked-dlq"],
        &["apply", "p", "--yes", "--no-ramp"],
        &["purge", "-q", "asked-dlq", "--yes"],
    ] {
        let mut command = world.command(arguments);
        let said = said(command.env_remove("AWS_ENDPOINT_URL").spawn().unwrap()).await;
        assert_eq!(
            (said.code, &*said.err),
            (
                Some(1),
                "error: no `surehand dev` runs here: start it, or pass --aws or set AWS_PROFILE to work on AWS\n"
            ),
            "{arguments:?}"
        );
    }
}

/// The SDK can be told to ignore `AWS_ENDPOINT_URL`, and to send what is for one service elsewhere.
#[tokio::test]
async fn a_command_goes_to_one_cloud_and_to_the_one_that_was_named() {
    let world = World::planned("ignored", 1).await;
    for (name, value, says) in [
        (
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
            "true",
            "and the SDK is told to ignore it",
        ),
        (
            "AWS_ENDPOINT_URL_SQS",
            "https://sqs.us-east-1.amazonaws.com",
            "AWS_ENDPOINT_URL_SQS is https://sqs.us-east-1.amazonaws.com, and all else of this command is for ",
        ),
    ] {
        for arguments in [
            &["groups", "-q", "ignored-dlq"][..],
            &["apply", "p", "--yes", "--no-ramp"],
        ] {
            let mut command = world.command(arguments);
            // Should a request leave after all, it is for a machine that is not there.
            command.env("AWS_REGION", "nowhere-1").env(name, value);
            let said = said(command.spawn().unwrap()).await;
            assert_eq!(said.code, Some(1), "{arguments:?}: {said:?}");
            assert!(said.err.contains(says), "{arguments:?}: {said:?}");
        }
    }
    let mut command = world.command(&["list", "--aws"]);
    command.env_remove("AWS_ENDPOINT_URL");
    command.env("AWS_ENDPOINT_URL_SQS", &world.sqs.endpoint);
    let said = said(command.spawn().unwrap()).await;
    assert!(
        said.err.contains("all else of this command is for AWS"),
        "{said:?}"
    );
}

/// A profile can send what is for one service elsewhere as well, also under --aws.
#[tokio::test]
async fn a_profile_does_not_send_one_service_elsewhere() {
    let world = World::planned("services", 1).await;
    let elsewhere = "http://127.0.0.1:1";
    let config = format!(
        "[profile p]\nregion = nowhere-1\nservices = s\n[services s]\nsqs =\n  endpoint_url = {elsewhere}\n"
    );
    fs::write(world.path("config"), config).unwrap();
    for arguments in [&["list", "--aws"][..], &["groups", "-q", "services-dlq"]] {
        let mut command = world.command(arguments);
        command
            .env_remove("AWS_ENDPOINT_URL")
            .env("AWS_CONFIG_FILE", world.path("config"))
            .env("AWS_PROFILE", "p");
        let said = said(command.spawn().unwrap()).await;
        assert_eq!(
            (said.code, &*said.err),
            (
                Some(1),
                "error: the AWS profile sends what is for SQS to http://127.0.0.1:1, and all else of this command is for \
                 AWS us-east-1: choose another profile, or take the endpoint out of its `services`\n"
            ),
            "{arguments:?}: {said:?}"
        );
    }
    // A variable that sends nothing elsewhere is no reason to refuse.
    let mut command = world.command(&["list", "--prefix", "services"]);
    command.env("AWS_ENDPOINT_URL_SQS", &world.sqs.endpoint);
    let said = said(command.spawn().unwrap()).await;
    assert_eq!(said.code, Some(0), "{said:?}");
}

/// A proxy would see the key with which a local cloud is used, and what is in its messages.
#[tokio::test]
async fn no_proxy_sees_a_call_that_stays_on_this_machine() {
    let world = World::planned("proxied", 1).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let mut command = world.command(&["groups", "-q", "proxied-dlq"]);
    for name in [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "all_proxy",
    ] {
        command.env(name, &proxy);
    }
    let said = said(command.spawn().unwrap()).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    listener.set_nonblocking(true).unwrap();
    let seen = listener.accept();
    assert_eq!(
        seen.unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock,
        "nobody has called"
    );
}

/// A service that takes a call and never answers.
#[tokio::test]
async fn a_silent_service_is_given_up() {
    let world = World::new("silent").await;
    world.park("no such sku", &["a"]).await;
    let endpoint = proxy::start(&world.sqs.endpoint, move |call: &Call| {
        if call.action == "ReceiveMessage" && call.moment == Moment::Before {
            std::thread::sleep(std::time::Duration::from_secs(600));
        }
        Fate::Pass
    });
    let mut command = world.command(&["groups", "-q", &world.queues.letters]);
    let said = said(command.env("AWS_ENDPOINT_URL", endpoint).spawn().unwrap()).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("cannot read silent-dlq at "), "{said:?}");
}
