//! The command as a shell sees it where nothing is set up: wrong usage is one clear line, and no success.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

/// Runs the command in `folder`, without the variables that select a cloud.
fn surehand(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_surehand"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    let command = command.current_dir(folder).args(arguments);
    command.env_remove("EVENT_BUS_NAME").output().unwrap()
}

/// Checks that the command fails with the code, and prints only the one line.
fn check(folder: &Path, arguments: &[&str], code: i32, line: &str) {
    let output = surehand(folder, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, format!("{line}\n"), "surehand {arguments:?}");
    assert_eq!(output.status.code(), Some(code), "surehand {arguments:?}");
    assert!(output.stdout.is_empty(), "surehand {arguments:?}");
}

#[test]
fn wrong_arguments_are_one_line_and_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, line) in [
        (&["fly"][..], "error: unrecognized subcommand 'fly'"),
        (
            &["pulish"],
            "error: unrecognized subcommand 'pulish': did you mean 'publish' or 'pause'?",
        ),
        (
            &["dev", "--relase"],
            "error: unexpected argument '--relase' found: did you mean '--release'?",
        ),
        (
            &["publish"],
            "error: the following required arguments were not provided: <FILE>",
        ),
        (
            &["dev", "--port", "http"],
            "error: invalid value 'http' for '--port <PORT>': invalid digit found in string",
        ),
        (
            &["demo", "--orders", "3"],
            "error: invalid value '3' for '--orders <ORDERS>': use a number of 100 or more",
        ),
        (
            &["new"],
            "error: the following required arguments were not provided: <PATH>",
        ),
        (
            &[
                "new",
                "hello",
                "--surehand-path",
                "p",
                "--surehand-git",
                "u",
            ],
            "error: the argument '--surehand-path <FOLDER>' cannot be used with '--surehand-git <URL>'",
        ),
        (&["dlq", "fly"], "error: unrecognized subcommand 'fly'"),
        (
            &["dlq", "list", "--prefix"],
            "error: a value is required for '--prefix <PREFIX>' but none was supplied",
        ),
        (
            &["dlq", "show", "--limit", "few"],
            "error: invalid value 'few' for '--limit <LIMIT>': invalid digit found in string",
        ),
        (
            &["dlq", "groups", "--since", "yesterday"],
            "error: invalid value 'yesterday' for '--since <TIME>': use RFC 3339, or an age such as 90m, 12h or 3d",
        ),
        (
            &["dlq", "pull", "--queue", "q"],
            "error: the following required arguments were not provided: --out <OUT>",
        ),
        (
            &[
                "dlq", "plan", "--queue", "q", "--out", "p", "--action", "burn",
            ],
            "error: invalid value 'burn' for '--action <ACTION>' [possible values: redrive, drop, hold]",
        ),
        (
            &["dlq", "edit", "--queue", "q"],
            "error: the following required arguments were not provided: --id <ID> --plan <PLAN>",
        ),
        (
            &["dlq", "apply"],
            "error: the following required arguments were not provided: <PLAN>",
        ),
        (
            &["dlq", "apply", "p", "--rate", "0"],
            "error: invalid value '0' for '--rate <N>': use a number above 0",
        ),
        (
            &["dlq", "apply", "p", "--threshold", "101"],
            "error: invalid value '101' for '--threshold <PERCENT>': 101 is not in 0..=100",
        ),
        (
            &["dlq", "resume"],
            "error: the following required arguments were not provided: <PLAN>",
        ),
        (
            &["send", "f"],
            "error: the following required arguments were not provided: <FILE>",
        ),
        (
            &["send", "f", "-", "--attribute", "kind"],
            "error: invalid value 'kind' for '--attribute <NAME=VALUE>': write it as NAME=VALUE",
        ),
        (
            &["logs", "f", "--since", "soon"],
            "error: invalid value 'soon' for '--since <TIME>': use RFC 3339, or an age such as 90m, 12h or 3d",
        ),
        (
            &["status", "--watch", "0"],
            "error: invalid value '0' for '--watch <SECONDS>': 0 is not in 1..=86400",
        ),
        (
            &["resume"],
            "error: the following required arguments were not provided: <FUNCTION>",
        ),
        (
            &["dlq", "undo"],
            "error: the following required arguments were not provided: <PLAN>",
        ),
        (
            &["dlq", "purge", "--queue", "q", "--function", "f"],
            "error: the argument '--queue <QUEUE>' cannot be used with '--function <FUNCTION>'",
        ),
        (
            &["dlq", "move", "--queue", "q"],
            "error: the following required arguments were not provided: --to <QUEUE>",
        ),
        (
            &["dlq", "rehearse"],
            "error: the following required arguments were not provided: --function <FUNCTION>",
        ),
        (
            &["dev", "--run", ".."],
            "error: invalid value '..' for '--run <NAME>': use only letters, digits, `-` and `_`",
        ),
    ] {
        let command = match arguments {
            ["fly" | "pulish"] => "surehand".to_owned(),
            ["dlq", "fly"] => "surehand dlq".to_owned(),
            ["dlq", subcommand, ..] => format!("surehand dlq {subcommand}"),
            [command, ..] => format!("surehand {command}"),
            [] => unreachable!("there is always a command"),
        };
        let line = format!("{line} (see `{command} --help`)");
        check(folder.path(), arguments, 2, &line);
    }
}

#[test]
fn what_cannot_work_here_is_one_line_and_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    // As the command sees it.
    let here = folder.path().canonicalize().unwrap();
    let no_template = format!(
        "error: no template.yaml in {} or a folder above it: go to an application's folder, or create one with `surehand new`",
        here.display()
    );
    check(&here, &["dev"], 1, &no_template);
    check(&here, &["demo"], 1, &no_template);
    check(
        &here,
        &["publish", "no-such-file"],
        1,
        "error: cannot read no-such-file: No such file or directory (os error 2)",
    );

    for (events, what) in [
        ("", "there is no event in events: write one a line, as JSON"),
        (
            "[{}]",
            "nothing sent from events: it is an array: write each event on one line, as `jq -c` does",
        ),
        (
            "{\n}",
            "nothing sent from events: it is one event over several lines: write each event on one line, as `jq -c` does",
        ),
    ] {
        fs::write(here.join("events"), events).unwrap();
        check(&here, &["publish", "events"], 1, &format!("error: {what}"));
    }
    fs::write(here.join("events"), "{}\nnonsense\n").unwrap();
    check(
        &here,
        &["publish", "events"],
        1,
        "error: nothing sent from events: line 1: column 2: missing field `source`",
    );
    fs::write(
        here.join("events"),
        r#"{"source": "shop.orders", "detail-type": "OrderPlaced", "detail": {}}"#,
    )
    .unwrap();
    check(
        &here,
        &["publish", "events"],
        1,
        "error: no `surehand dev` runs here: start it, or pass --aws or set AWS_PROFILE to work on AWS",
    );
    let no_region = "error: no region: set AWS_REGION, or start `surehand dev` here";
    check(
        &here,
        &["publish", "events", "--bus", "b", "--aws"],
        1,
        no_region,
    );
    check(&here, &["invoke", "place-order", "--aws"], 1, no_region);
    let no_run = "error: no `surehand dev --run foo` runs here: start it, or leave out --run";
    check(&here, &["invoke", "place-order", "--run", "foo"], 1, no_run);
    check(
        &here,
        &["invoke", "place-order", "--event", "{"],
        1,
        "error: the event is not JSON: EOF while parsing an object at line 1 column 1",
    );
}

#[test]
fn an_application_that_cannot_be_made_is_one_line_and_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::create_dir(here.join("full")).unwrap();
    fs::write(here.join("full/notes"), "").unwrap();
    for (arguments, line) in [
        (
            &["new", "Hello"][..],
            "error: `Hello` cannot be an application's name: it contains 'H': use only a-z, 0-9 and `-`",
        ),
        (
            &["new", "full"],
            "error: full is not empty: it contains notes",
        ),
        (
            &["new", "hello", "--surehand-path", "full"],
            "error: full is not the folder of the library: it has no Cargo.toml of a package `surehand`",
        ),
    ] {
        check(here, arguments, 1, line);
    }
    assert!(!here.join("hello").exists());
}

#[test]
fn dead_letters_that_cannot_be_found_are_one_line_and_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().canonicalize().unwrap();
    let no_queue = "error: no queue: pass --queue or --function";
    for arguments in [
        &["dlq", "show"][..],
        &["dlq", "groups"],
        &["dlq", "pull", "--out", "letters"],
        &["dlq", "plan", "--out", "plan"],
        &["dlq", "edit", "--id", "m", "--plan", "plan"],
        &["dlq", "purge"],
        &["dlq", "move", "--to", "orders"],
    ] {
        check(&here, arguments, 2, no_queue);
    }
    let no_file = "error: cannot read nothing: No such file or directory (os error 2)";
    for arguments in [
        &["dlq", "groups", "--in", "nothing"][..],
        &["dlq", "apply", "nothing"],
        &["dlq", "resume", "nothing"],
        &["dlq", "undo", "nothing"],
    ] {
        check(&here, arguments, 1, no_file);
    }
    fs::write(here.join("plan"), "{}\n").unwrap();
    check(
        &here,
        &["dlq", "apply", "plan"],
        1,
        "error: plan: line 1 of the plan: missing field `plan` at line 1 column 2",
    );
    fs::write(here.join("letters"), "{}\n").unwrap();
    check(
        &here,
        &["dlq", "groups", "--in", "letters"],
        1,
        "error: letters: line 1 is not a dead letter: missing field `id` at line 1 column 2",
    );
    let no_template = format!(
        "error: no template.yaml in {} or a folder above it: go to an application's folder, or create one with `surehand new`",
        here.display()
    );
    check(
        &here,
        &["dlq", "rehearse", "--function", "f"],
        1,
        &no_template,
    );
}

#[test]
fn a_parameter_that_the_template_does_not_have_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().canonicalize().unwrap();
    fs::write(here.join("Cargo.toml"), PACKAGE).unwrap();
    fs::create_dir(here.join("src")).unwrap();
    fs::write(here.join("src/main.rs"), "fn main() {}\n").unwrap();
    fs::write(here.join("template.yaml"), TEMPLATE).unwrap();
    check(
        &here,
        &["dev", "--parameter", "Stage=prod"],
        1,
        &format!(
            "error: {} has no parameter Stage",
            here.join("template.yaml").display()
        ),
    );
}

const PACKAGE: &str = r#"
[package]
name = "greet"
edition = "2024"
"#;

const TEMPLATE: &str = "
Transform: AWS::Serverless-2016-10-31
Resources:
  Greet:
    Type: AWS::Serverless::Function
    Metadata:
      BuildMethod: rust-cargolambda
      BuildProperties: {Binary: greet}
    Properties:
      Runtime: provided.al2023
";

#[test]
fn help_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    for (command, has_run) in [("new", false), ("tools", false), ("dev", true)] {
        let output = surehand(folder.path(), &[command, "--help"]);
        let help = String::from_utf8(output.stdout).unwrap();
        assert_eq!(help.contains("--run"), has_run, "{help}");
    }
    for arguments in [&["--help"][..], &["dev", "--help"], &["--version"]] {
        let output = surehand(folder.path(), arguments);
        assert!(output.status.success(), "surehand {arguments:?}");
        assert!(!output.stdout.is_empty(), "surehand {arguments:?}");
    }
}

#[test]
fn shells_and_man_can_read_every_command() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = surehand(folder.path(), &["completions", shell]);
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        for command in [
            "rehearse", "send", "logs", "status", "pause", "resume", "env",
        ] {
            assert!(text.contains(command), "{shell}: {command}");
        }
    }
    let output = surehand(folder.path(), &["man"]);
    assert!(output.stdout.starts_with(b".ie"), "{output:?}");
    let output = surehand(folder.path(), &["man", "--out", "pages"]);
    assert!(output.status.success(), "{output:?}");
    let page = fs::read_to_string(folder.path().join("pages/surehand-dlq-redrive.1")).unwrap();
    assert!(
        page.contains("put the selected dead letters back"),
        "{page}"
    );
    for command in ["send", "logs", "status", "pause", "resume", "env"] {
        let page = format!("pages/surehand-{command}.1");
        let page = fs::read_to_string(folder.path().join(page)).unwrap();
        assert!(page.contains("Exit codes: 0 done"), "{command}: {page}");
    }
}
