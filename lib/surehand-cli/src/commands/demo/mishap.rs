//! What goes wrong on purpose, and how it is set right: configuration and data, as an operator would.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_lambda::types::Environment;
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::Value;

use super::{clients::Clients, plan::Plan};

/// The variable with the addresses at whose mail notify-customer's process dies.
const ABORT: &str = "DRILL_ABORT_AT_MAIL_TO";

/// The variable that says what reserve-stock does with orders for an unknown sku.
const UNKNOWN_SKU: &str = "UNKNOWN_SKU";

/// The function's timeout in seconds. A lease lasts as long as the invocation, and a message should
/// be redelivered when it has ended.
const TIMEOUT: i32 = 2;
const VISIBILITY: &str = "4";

/// How many lost invocations are enough.
const RECEIVES: u32 = 2;

/// The settings before the mishap.
pub(super) struct Before {
    timeout: Option<i32>,
    queue_url: String,
    attributes: HashMap<QueueAttributeName, String>,
}

/// Makes notify-customer's process die at the mails about the struck orders, soon and not often.
pub(super) async fn strike(clients: &Clients, plan: &Plan) -> Result<Before> {
    let queue_url = clients.queue("NotifyCustomerQueue")?.to_owned();
    let names = [
        QueueAttributeName::VisibilityTimeout,
        QueueAttributeName::RedrivePolicy,
    ];
    let output = clients
        .sqs
        .get_queue_attributes()
        .queue_url(&queue_url)
        .set_attribute_names(Some(names.to_vec()))
        .send()
        .await
        .context("cannot read notify-customer's queue")?;
    let attributes = output.attributes.unwrap_or_default();
    let policy = attributes.get(&QueueAttributeName::RedrivePolicy);
    let mut policy: Value = serde_json::from_str(policy.map_or("null", String::as_str))?;
    policy["maxReceiveCount"] = RECEIVES.into();
    let hasty = HashMap::from([
        (QueueAttributeName::VisibilityTimeout, VISIBILITY.to_owned()),
        (QueueAttributeName::RedrivePolicy, policy.to_string()),
    ]);
    set_attributes(clients, &queue_url, hasty).await?;
    let addresses: Vec<&str> = plan.struck().map(|order| order.email.as_str()).collect();
    let timeout = configure(
        clients,
        &clients.notify_customer,
        (ABORT, Some(&addresses.join(","))),
        Some(TIMEOUT),
    )
    .await?;
    Ok(Before {
        timeout,
        queue_url,
        attributes,
    })
}

/// Removes the causes of the dead letters: the process no longer dies, the row holds a number, and
/// an unknown sku is sold out.
pub(super) async fn mend(clients: &Clients, plan: &Plan, before: Before) -> Result<()> {
    set_attributes(clients, &before.queue_url, before.attributes).await?;
    configure(
        clients,
        &clients.notify_customer,
        (ABORT, None),
        before.timeout,
    )
    .await?;
    configure(
        clients,
        &clients.reserve_stock,
        (UNKNOWN_SKU, Some("sold-out")),
        None,
    )
    .await?;
    let mended = AttributeValue::N(plan.mended.to_string());
    clients.put_stock(&plan.corrupt, mended).await
}

async fn set_attributes(
    clients: &Clients,
    url: &str,
    attributes: HashMap<QueueAttributeName, String>,
) -> Result<()> {
    clients
        .sqs
        .set_queue_attributes()
        .queue_url(url)
        .set_attributes(Some(attributes))
        .send()
        .await
        .context("cannot change notify-customer's queue")?;
    Ok(())
}

/// Sets or removes a variable of a function; returns its timeout before.
async fn configure(
    clients: &Clients,
    function: &str,
    (name, value): (&str, Option<&str>),
    timeout: Option<i32>,
) -> Result<Option<i32>> {
    let output = clients
        .lambda
        .get_function_configuration()
        .function_name(function)
        .send()
        .await
        .with_context(|| format!("cannot describe {function}"))?;
    let variables = output.environment.and_then(|it| it.variables);
    let mut variables = variables.unwrap_or_default();
    match value {
        Some(value) => drop(variables.insert(name.to_owned(), value.to_owned())),
        None => drop(variables.remove(name)),
    }
    clients
        .lambda
        .update_function_configuration()
        .function_name(function)
        .environment(
            Environment::builder()
                .set_variables(Some(variables))
                .build(),
        )
        .set_timeout(timeout)
        .send()
        .await
        .with_context(|| format!("cannot configure {function}"))?;
    Ok(output.timeout)
}
