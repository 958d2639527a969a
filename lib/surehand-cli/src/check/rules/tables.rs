//! The tables, and how long keys are remembered.

use surehand::description::Use;

use crate::{
    application::{resource::Resource, yaml::Node},
    check::{
        app::App,
        finding::{Findings, rule},
    },
};

/// SQS's default, in seconds.
const DEFAULT_RETENTION: u64 = 4 * 24 * 60 * 60;

pub(crate) fn check(app: &App<'_>, findings: &mut Findings) {
    for table in app.of_kind("AWS::DynamoDB::Table") {
        let recovery = [
            "PointInTimeRecoverySpecification",
            "PointInTimeRecoveryEnabled",
        ];
        if !table.is_true(&recovery) {
            findings.add(
                &rule::NO_RECOVERY,
                &table.place_of(&recovery),
                &table.id,
                "after a mistake it cannot be restored",
            );
        }
        if !table.is_true(&["SSESpecification", "SSEEnabled"]) {
            findings.add(
                &rule::TABLE_NOT_ENCRYPTED,
                &table.place_of(&["SSESpecification", "SSEEnabled"]),
                &table.id,
                "it is encrypted with a key that is not the account's",
            );
        }
        if !table.is_retained() {
            findings.add(
                &rule::TABLE_NOT_KEPT,
                &table.place,
                &table.id,
                "it is deleted with its stack",
            );
        }
    }
    let with_use = |what: Use| {
        let mut tables: Vec<&Resource> = (app.functions.iter())
            .flat_map(|function| {
                let names = function.variables_for(what).into_iter();
                names.filter_map(|name| function.variable(name)?.text())
            })
            .filter_map(|name| app.named(name, &["AWS::DynamoDB::Table"]))
            .collect();
        tables.dedup_by(|a, b| a.id == b.id);
        tables
    };
    for table in with_use(Use::IdempotencyTable) {
        idempotency_table(table, findings);
    }
    for table in with_use(Use::OutboxTable) {
        outbox_index(table, findings);
    }
    memory(app, findings);
}

fn idempotency_table(table: &Resource, findings: &mut Findings) {
    let expiry = table.property(&["TimeToLiveSpecification"]);
    let expires = expiry.is_some_and(|it| {
        let attribute = it.get("AttributeName");
        let enabled = it.get("Enabled");
        attribute.is_some_and(|it| it.may_be("expiration"))
            && enabled.is_some_and(|it| it.may_be("true"))
    });
    if !expires {
        findings.add(
            &rule::NO_EXPIRY,
            &table.place_of(&["TimeToLiveSpecification"]),
            &table.id,
            "no key is ever forgotten: its claims say when they expire in `expiration`",
        );
    }
    if !has_key(table.property(&["KeySchema"]), &[("id", "HASH")]) {
        findings.add(
            &rule::TABLE_KEY,
            &table.place_of(&["KeySchema"]),
            &table.id,
            "claims are found by `id` alone",
        );
    }
}

/// Whether these are the key's attributes with their roles, as far as can be told.
pub(super) fn has_key(schema: Option<&Node>, expected: &[(&str, &str)]) -> bool {
    let parts = schema.map_or(&[][..], Node::items);
    // A part that is unknown may be none.
    if parts.iter().any(Node::is_unknown) {
        return true;
    }
    let says = |part: &Node, name: &str, text: &str| {
        let value = part.get(name);
        value.is_some_and(|it| it.is_unknown() || it.text() == Some(text))
    };
    parts.len() == expected.len()
        && (parts.iter().zip(expected)).all(|(part, (name, role))| {
            says(part, "AttributeName", name) && says(part, "KeyType", role)
        })
}

fn outbox_index(table: &Resource, findings: &mut Findings) {
    let indexes = table.property(&["GlobalSecondaryIndexes"]);
    let indexes = indexes.map_or(&[][..], Node::items);
    let is_outbox = |index: &&Node| {
        let key = [("outbox_shard", "HASH"), ("outbox_since", "RANGE")];
        (index.get("IndexName")).is_some_and(|name| name.may_be("outbox"))
            && has_key(index.get("KeySchema"), &key)
    };
    if !indexes.iter().any(|index| is_outbox(&index)) {
        findings.add(
            &rule::NO_OUTBOX_INDEX,
            &table.place_of(&["GlobalSecondaryIndexes"]),
            &table.id,
            "a sweep does not find the events that wait",
        );
    }
}

/// A redrive must find the key of what was handled.
fn memory(app: &App<'_>, findings: &mut Findings) {
    for function in &app.functions {
        let Some(once) = function.description.and_then(|it| it.idempotency.as_ref()) else {
            continue;
        };
        if once.store == "memory" {
            findings.add(
                &rule::MEMORY_STORE,
                &function.resource.place,
                function.id(),
                "it keeps its claims in memory, so that two instances handle one event twice",
            );
        }
        for (_, queue) in function.queues() {
            let retention = |queue: &Resource| match queue.property(&["MessageRetentionPeriod"]) {
                Some(seconds) => seconds.number(),
                None => Some(DEFAULT_RETENTION),
            };
            let dead_letters = app.dead_letter_queue(queue);
            let Some(longest) = retention(queue)
                .zip(dead_letters.map_or(Some(0), retention))
                .map(|(source, dead)| source + dead)
            else {
                continue;
            };
            if once.expires_after_s < longest {
                let place = dead_letters.unwrap_or(queue);
                findings.add(
                    &rule::SHORT_MEMORY,
                    &place.place_of(&["MessageRetentionPeriod"]),
                    &queue.id,
                    format!(
                        "a message can live for {longest} s here and among the dead letters, and {} forgets its key after {} s: a late redrive is handled twice",
                        function.id(),
                        once.expires_after_s
                    ),
                );
            }
        }
    }
}
