//! What goes wrong on purpose, and how it is set right: configuration and data, as an operator would.

use std::collections::HashMap;

use super::{clients::Clients, plan::Plan};
use anyhow::{Context as _, Result};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_lambda::types::Environment;
use aws_sdk_sqs::types::QueueAttributeName;

/// The variable with the addresses at whose mail notify-customer's process dies.
const ABORT: &str = "DRILL_ABORT_AT_MAIL_TO";

/// The variable that says what reserve-stock does with orders for an unknown sku.
const UNKNOWN_SKU: &str = "UNKNOWN_SKU";

/// The function's timeout in seconds. A lease lasts as long as the invocation, and a message should
/// be redelivered when it has ended.
const TIMEOUT: i32 = 2;
const VISIBILITY: &str = "4";

/// The variable with the number of attempts, and how many lost processes are enough: when the message comes once more,
/// the function parks it before it runs again.
const MAX_ATTEMPTS: &str = "MAX_ATTEMPTS";
const ATTEMPTS: &str = "2";

/// The settings before the mishap.
pub(super) struct Before {
    timeout: Option<i32>,
    max_attempts: Option<String>,
    queue_url: String,
    attributes: HashMap<QueueAttributeName, String>,
}

/// Makes notify-customer's process die at the mails about the struck orders, soon and not often.
pub(super) async fn strike(clients: &Clients, plan: &Plan) -> Result<Before> {
    let queue_url = clients.queue("NotifyCustomerQueue")?.to_owned();
    let output = clients
        .sqs
        .get_queue_attributes()
        .queue_url(&queue_url)
        .attribute_names(QueueAttributeName::VisibilityTimeout)
        .send()
        .await
        .context("cannot read notify-customer's queue")?;
    let attributes = output.attributes.unwrap_or_default();
    let hasty = HashMap::from([(QueueAttributeName::VisibilityTimeout, VISIBILITY.to_owned())]);
    set_attributes(clients, &queue_url, hasty).await?;
    let addresses: Vec<&str> = plan.struck().map(|order| order.email.as_str()).collect();
    let addresses = addresses.join(",");
    let (timeout, mut variables) = configure(
        clients,
        &clients.notify_customer,
        &[(ABORT, Some(&addresses)), (MAX_ATTEMPTS, Some(ATTEMPTS))],
        Some(TIMEOUT),
    )
    .await?;
    Ok(Before {
        timeout,
        max_attempts: variables.remove(MAX_ATTEMPTS),
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
        &[
            (ABORT, None),
            (MAX_ATTEMPTS, before.max_attempts.as_deref()),
        ],
        before.timeout,
    )
    .await?;
    configure(
        clients,
        &clients.reserve_stock,
        &[(UNKNOWN_SKU, Some("sold-out"))],
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

/// Sets or removes variables of a function; returns its timeout and all its variables before.
async fn configure(
    clients: &Clients,
    function: &str,
    changes: &[(&str, Option<&str>)],
    timeout: Option<i32>,
) -> Result<(Option<i32>, HashMap<String, String>)> {
    let output = clients
        .lambda
        .get_function_configuration()
        .function_name(function)
        .send()
        .await
        .with_context(|| format!("cannot describe {function}"))?;
    let variables = output.environment.and_then(|it| it.variables);
    let before = variables.unwrap_or_default();
    let mut variables = before.clone();
    for (name, value) in changes {
        match value {
            Some(value) => drop(variables.insert((*name).to_owned(), (*value).to_owned())),
            None => drop(variables.remove(*name)),
        }
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
    Ok((output.timeout, before))
}
