//! SAM's policy templates, in the place of which SAM puts the statements that they stand for.

use crate::application::{
    resource::{self, Whereabouts},
    yaml::{Node, Value},
};

/// What a policy template for a table allows.
struct Template {
    name: &'static str,
    statements: &'static [Statement],
}

struct Statement {
    actions: &'static [&'static str],
    /// What it is about, behind the table's ARN.
    on: &'static [&'static str],
}

const ITEMS: &[&str] = &["", "/index/*"];

/// Those that are about tables and need nothing but the table's name, as SAM's translator has them in its
/// `policy_templates.json` (1.113.0). All others with `DynamoDB` in their names are about tables as well.
const TEMPLATES: &[Template] = &[
    Template {
        name: "DynamoDBCrudPolicy",
        statements: &[Statement {
            actions: &[
                "GetItem",
                "DeleteItem",
                "PutItem",
                "Scan",
                "Query",
                "UpdateItem",
                "BatchWriteItem",
                "BatchGetItem",
                "DescribeTable",
                "ConditionCheckItem",
            ],
            on: ITEMS,
        }],
    },
    Template {
        name: "DynamoDBReadPolicy",
        statements: &[Statement {
            actions: &["GetItem", "Scan", "Query", "BatchGetItem", "DescribeTable"],
            on: ITEMS,
        }],
    },
    Template {
        name: "DynamoDBWritePolicy",
        statements: &[Statement {
            actions: &["PutItem", "UpdateItem", "BatchWriteItem"],
            on: ITEMS,
        }],
    },
    Template {
        name: "DynamoDBReconfigurePolicy",
        statements: &[Statement {
            actions: &["UpdateTable"],
            on: &[""],
        }],
    },
    Template {
        name: "DynamoDBBackupFullAccessPolicy",
        statements: &[
            Statement {
                actions: &["CreateBackup", "DescribeContinuousBackups"],
                on: &[""],
            },
            Statement {
                actions: &["DeleteBackup", "DescribeBackup", "ListBackups"],
                on: &["/backup/*"],
            },
        ],
    },
    Template {
        name: "DynamoDBRestoreFromBackupPolicy",
        statements: &[
            Statement {
                actions: &["RestoreTableFromBackup"],
                on: &["/backup/*"],
            },
            Statement {
                actions: &[
                    "PutItem",
                    "UpdateItem",
                    "DeleteItem",
                    "GetItem",
                    "Query",
                    "Scan",
                    "BatchWriteItem",
                ],
                on: &[""],
            },
        ],
    },
];

/// Puts statements in the place of the policy templates of a function. What is none stays as it is: policy documents,
/// names of managed policies, and templates that only a newer SAM knows.
pub(super) fn expand(policies: &mut Node, at: &Whereabouts) {
    let policies = match &mut policies.value {
        Value::List(items) => items,
        _ => std::slice::from_mut(policies),
    };
    for policy in policies {
        if let Some(document) = document(policy, at) {
            policy.value = document;
        }
    }
}

/// What a policy template stands for.
fn document(policy: &Node, at: &Whereabouts) -> Option<Value> {
    let mut entries = policy.entries();
    let (Some((name, parameters)), None) = (entries.next(), entries.next()) else {
        return None;
    };
    let statements = match TEMPLATES.iter().find(|it| it.name == name) {
        Some(template) => template.statements,
        // The policy templates of other services say nothing of tables.
        None if name.ends_with("Policy") && !name.contains("DynamoDB") => &[],
        None => return None,
    };
    let node = |value| Node {
        place: policy.place.clone(),
        value,
    };
    let text = |text: String| node(Value::Text(text));
    let table = parameters.get("TableName").and_then(Node::text);
    let table = table.map(|name| resource::arn("AWS::DynamoDB::Table", name, None, at));
    let statement = |statement: &Statement| {
        let actions = statement.actions.iter();
        let actions = actions.map(|it| text(format!("dynamodb:{it}"))).collect();
        let on = statement.on.iter().map(|below| match &table {
            Some(arn) => text(format!("{arn}{below}")),
            None => node(Value::Unknown),
        });
        node(Value::Map(vec![
            ("Effect".to_owned(), text("Allow".to_owned())),
            ("Action".to_owned(), node(Value::List(actions))),
            ("Resource".to_owned(), node(Value::List(on.collect()))),
        ]))
    };
    let statements = statements.iter().map(statement).collect();
    let statements = ("Statement".to_owned(), node(Value::List(statements)));
    Some(Value::Map(vec![statements]))
}
