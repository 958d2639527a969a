//! Redrives by the application's redrive function: its journal is in a table, where whoever may invoke it sees it, and
//! it goes on without this machine.

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use surehand_redrive::Plan;

use super::context::{Context, End, said};
use crate::terminal::say;

/// Hands a plan over; without `apply` the function only says what it would do.
pub(super) async fn apply(
    plan: &Plan,
    function: &str,
    (rate, threshold_percent): (Option<f64>, u32),
    apply: bool,
    context: &Context<'_>,
) -> Result<End> {
    let mut file = Vec::new();
    plan.write(&mut file).map_err(said)?;
    let request = json!({
        "plan": String::from_utf8(file)?, "rate": rate, "threshold_percent": threshold_percent,
        "apply": apply,
    });
    let answer = ask(function, &request, context).await?;
    if context.json {
        say!("{answer}");
    } else if apply {
        let run = answer["run"].as_str().unwrap_or_default();
        say!(
            "run {run} has begun; `surehand dlq runs {run} --through {function}` tells how far it is"
        );
    } else {
        say!(
            "{} of {} would be redriven",
            answer["selected"],
            answer["seen"]
        );
        for (why, count) in answer["held"].as_object().into_iter().flatten() {
            say!("  {count} held: {why}");
        }
        say!("nothing was changed; --yes does it");
    }
    Ok(
        match answer["held"]
            .as_object()
            .is_some_and(|held| !held.is_empty())
        {
            true => End::Partly,
            false => End::Done,
        },
    )
}

/// Says how far a run of the function is.
pub(super) async fn status(run: &str, function: &str, context: &Context<'_>) -> Result<End> {
    let status = ask(function, &json!({"run": run}), context).await?;
    let failed = status["failed"].as_object();
    let missing = status["missing"].as_array().map_or(0, Vec::len);
    let is_whole = failed.is_none_or(|failed| failed.is_empty()) && missing == 0;
    if context.json {
        say!("{status}");
    } else {
        let state = match (status["ended"] == true, status["complete"] == true) {
            (false, _) => "goes on",
            (true, true) => "finished",
            (true, false) => "stopped",
        };
        say!(
            "{state}: {} of {} done, {missing} missing",
            status["done"],
            status["planned"]
        );
        for (id, why) in failed.into_iter().flatten() {
            say!("  {id}: {}", why.as_str().unwrap_or_default());
        }
    }
    Ok(
        match status["ended"] == true && (!is_whole || status["complete"] != true) {
            true => End::Partly,
            false => End::Done,
        },
    )
}

async fn ask(function: &str, request: &Value, context: &Context<'_>) -> Result<Value> {
    let cloud = context.connect().await?;
    let name = cloud.full_name(function)?;
    let output = cloud.invoke(&name, request.to_string()).await?;
    let reply = output.payload().map(AsRef::as_ref).unwrap_or_default();
    let reply: Value = serde_json::from_slice(reply)
        .with_context(|| format!("{name} answered something else than JSON"))?;
    if output.function_error().is_some() {
        let why = reply["errorMessage"].as_str();
        bail!(
            "{name} refused: {}",
            why.unwrap_or("it failed without a reason")
        );
    }
    Ok(reply)
}
