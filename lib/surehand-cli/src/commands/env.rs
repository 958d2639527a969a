//! `surehand env`: variables for a shell, so that another tool works on the same cloud or as a function does.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;

use crate::{
    cloud::{Cloud, Wanted},
    dlq::End,
    terminal::{self, say},
};

/// What would lead a tool elsewhere, or would be said to the local cloud though it is AWS's.
const FOREIGN: [&str; 3] = [
    "AWS_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
];

/// What a variable is called that holds a secret, as a part of its name.
const SECRET: [&str; 8] = [
    "SECRET",
    "TOKEN",
    "PASSWORD",
    "PASSWD",
    "CREDENTIAL",
    "PRIVATE",
    "KEY",
    "AUTH",
];

/// Print variables for `eval`: those of the cloud, or those that a function is deployed with
///
/// Of a running `surehand dev` they are its endpoint, its region and the credentials of the run, with which `aws` and
/// other tools work on it. On AWS they never contain credentials, nor variables of a function that are called as secrets
/// are.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  eval \"$(surehand env)\" && aws sqs list-queues
  eval \"$(surehand env reserve-stock)\" && echo $IDEMPOTENCY_TABLE

Exit codes: 0 done, 1 error, 2 wrong usage, 3 the function has no variables")]
pub(crate) struct EnvArgs {
    /// The function's short name (place-order), logical id or full name
    function: Option<String>,
    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    wanted: Wanted,
}

pub(super) async fn run(mut arguments: EnvArgs, run: Option<String>) -> Result<End> {
    arguments.wanted.run = run;
    let cloud = Cloud::connect(&arguments.wanted).await?;
    let (variables, foreign) = match &arguments.function {
        Some(function) => (of_function(&cloud, function).await?, Vec::new()),
        None => of_cloud(&cloud),
    };
    if let (true, Some(function)) = (variables.is_empty(), &arguments.function) {
        terminal::err("", &format!("{function} is deployed without variables"));
        return Ok(End::Nothing);
    }
    if arguments.json {
        say!("{}", json!(variables));
        return Ok(End::Done);
    }
    if !foreign.is_empty() {
        say!("unset {}", foreign.join(" "));
    }
    for (name, value) in &variables {
        if !is_name(name) {
            bail!("a shell has no variable that is called `{name}`: pass --json");
        }
        say!("export {name}={}", quoted(value));
    }
    Ok(End::Done)
}

/// The variables with which a tool reaches the cloud, and those that must not be set.
fn of_cloud(cloud: &Cloud) -> (BTreeMap<String, String>, Vec<String>) {
    let mut variables = BTreeMap::new();
    let mut add = |name: &str, value: &str| variables.insert(name.to_owned(), value.to_owned());
    if let Some(region) = cloud.config.region() {
        add("AWS_REGION", region.as_ref());
        // Older tools know this one alone.
        add("AWS_DEFAULT_REGION", region.as_ref());
    }
    if let Some(endpoint) = cloud.config.endpoint_url() {
        add("AWS_ENDPOINT_URL", endpoint);
    }
    let Some(stack) = &cloud.stack else {
        return (variables, Vec::new());
    };
    add("AWS_ACCESS_KEY_ID", &stack.key.id);
    add("AWS_SECRET_ACCESS_KEY", &stack.key.secret);
    let mut foreign: Vec<String> = FOREIGN.map(str::to_owned).to_vec();
    // An endpoint of one service overrides the one of all.
    let set = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    foreign.extend(set.filter(|name| name.starts_with("AWS_ENDPOINT_URL_") && is_name(name)));
    (variables, foreign)
}

async fn of_function(cloud: &Cloud, function: &str) -> Result<BTreeMap<String, String>> {
    let configuration = cloud.function(function).await?;
    let variables = configuration.environment.and_then(|it| it.variables);
    let variables: BTreeMap<String, String> = variables.unwrap_or_default().into_iter().collect();
    if cloud.stack.is_some() {
        return Ok(variables);
    }
    let (hidden, shown): (BTreeMap<_, _>, _) = variables
        .into_iter()
        .partition(|(name, value)| is_secret(name, value));
    if !hidden.is_empty() {
        let hidden: Vec<&str> = hidden.keys().map(String::as_str).collect();
        terminal::err(
            "",
            &format!("left out, since they may be secret: {}", hidden.join(", ")),
        );
    }
    Ok(shown)
}

/// Whether a variable may hold a secret: by its name, or as a URL with a password.
fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let authority = value.split_once("://").map(|(_, rest)| rest);
    let authority = authority.and_then(|rest| rest.split(['/', '?', '#']).next());
    SECRET.iter().any(|secret| name.contains(secret))
        || authority.is_some_and(|it| it.contains('@'))
}

fn is_name(name: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty() && name.chars().all(known)
}

/// Writes a value so that a shell reads it as it is. What a terminal would obey is written as its bytes in octal, which
/// `printf` makes of them.
fn quoted(value: &str) -> String {
    let mut text = String::from("'");
    for c in value.chars() {
        let mut bytes = [0; 4];
        let alone: &str = c.encode_utf8(&mut bytes);
        if c == '\'' {
            text.push_str(r"'\''");
        } else if terminal::plain(alone) == alone {
            text.push(c);
        } else {
            let octal: String = alone.bytes().map(|byte| format!("\\{byte:03o}")).collect();
            text.push_str(&format!("'\"$(printf '{octal}')\"'"));
        }
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_what_was_written() {
        for value in [
            "",
            "plain",
            "it's $HOME `id` \\ \"x\"",
            "two\nlines",
            "tab\tbell\u{7}escape\u{1b}[2J",
            "für 東京 \u{202e}",
            "'",
        ] {
            let script = format!("A={}; printf %s \"$A\"", quoted(value));
            assert!(!quoted(value).contains('\u{1b}'));
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), value, "{script}");
        }
    }

    #[test]
    fn what_may_be_secret_is_known() {
        for (name, value) in [
            ("API_TOKEN", "x"),
            ("db_password", "x"),
            ("STRIPE_KEY", "x"),
            ("DATABASE_URL", "postgres://me:secret@host/db"),
        ] {
            assert!(is_secret(name, value), "{name}");
        }
        for (name, value) in [
            ("IDEMPOTENCY_TABLE", "shop"),
            (
                "DEAD_LETTER_QUEUE_URL",
                "https://sqs.eu-west-1.amazonaws.com/1/q",
            ),
        ] {
            assert!(!is_secret(name, value), "{name}");
        }
    }
}
