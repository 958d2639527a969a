//! Resources with their properties as they would be deployed, and the names that CloudFormation and the services
//! give them.

use super::yaml::{Node, Place, Value};

/// A resource of the application's template or of one that it nests.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    /// Its logical id, after those of the stacks that it is in: `ReserveStockQueue/Queue`.
    pub(crate) id: String,
    pub(crate) kind: String,
    /// Where its declaration begins.
    pub(crate) place: Place,
    /// Its attributes besides `Properties`, such as `DeletionPolicy`.
    pub(crate) attributes: Node,
    pub(crate) properties: Node,
    /// Its name in its service.
    pub(crate) name: String,
    pub(crate) arn: String,
    /// Whether it is a nested stack whose template is not in the project.
    pub(crate) is_unseen: bool,
}

impl Resource {
    pub(crate) fn property(&self, path: &[&str]) -> Option<&Node> {
        self.properties.at(path)
    }

    /// Returns where a property is, or else the resource.
    pub(crate) fn place_of(&self, path: &[&str]) -> Place {
        let found = self.property(path).map(|node| node.place.clone());
        found.unwrap_or_else(|| self.place.clone())
    }

    /// Returns true if the property is `true` or unknown.
    pub(crate) fn is_true(&self, path: &[&str]) -> bool {
        self.property(path).is_some_and(|node| node.may_be("true"))
    }

    /// Returns the URL of a queue.
    pub(crate) fn url(&self) -> String {
        queue_url(&self.arn)
    }

    /// Returns true if it outlives its stack.
    pub(crate) fn is_retained(&self) -> bool {
        ["DeletionPolicy", "UpdateReplacePolicy"]
            .iter()
            .all(|policy| {
                let policy = self.attributes.get(policy);
                policy.is_some_and(|policy| {
                    policy.may_be("Retain") || policy.is("RetainExceptOnCreate")
                })
            })
    }
}

/// Where something is deployed, as far as names need it.
#[derive(Debug, Clone)]
pub(crate) struct Whereabouts {
    pub(crate) stack: String,
    pub(crate) region: String,
}

/// A placeholder for the account, which is unknown before the deployment.
pub(crate) const ACCOUNT: &str = "123456789012";

impl Whereabouts {
    fn arn(&self, service: &str, rest: &str) -> String {
        format!("arn:aws:{service}:{}:{ACCOUNT}:{rest}", self.region)
    }
}

/// The types of DynamoDB's tables.
pub(crate) const TABLES: [&str; 3] = [
    "AWS::DynamoDB::Table",
    "AWS::DynamoDB::GlobalTable",
    "AWS::Serverless::SimpleTable",
];

/// The property in which a resource of this type can be given a name.
pub(crate) fn name_property(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "AWS::SQS::Queue" => "QueueName",
        kind if TABLES.contains(&kind) => "TableName",
        "AWS::Events::EventBus" | "AWS::Events::Rule" => "Name",
        "AWS::Lambda::Function" | "AWS::Serverless::Function" => "FunctionName",
        "AWS::IAM::Role" => "RoleName",
        "AWS::Logs::LogGroup" => "LogGroupName",
        "AWS::SNS::Topic" => "TopicName",
        "AWS::CloudWatch::Alarm" => "AlarmName",
        _ => return None,
    })
}

/// The ARN of a resource of this type and name.
pub(crate) fn arn(kind: &str, name: &str, bus: Option<&str>, at: &Whereabouts) -> String {
    match kind {
        "AWS::SQS::Queue" => at.arn("sqs", name),
        kind if TABLES.contains(&kind) => at.arn("dynamodb", &format!("table/{name}")),
        "AWS::Events::EventBus" => at.arn("events", &format!("event-bus/{name}")),
        "AWS::Events::Rule" => match bus {
            // A bus is named by its name or by its ARN.
            Some(bus) if bus != "default" => {
                let bus = bus.rsplit('/').next().unwrap_or(bus);
                at.arn("events", &format!("rule/{bus}/{name}"))
            }
            _ => at.arn("events", &format!("rule/{name}")),
        },
        "AWS::Lambda::Function" | "AWS::Serverless::Function" => {
            at.arn("lambda", &format!("function:{name}"))
        }
        "AWS::IAM::Role" => format!("arn:aws:iam::{ACCOUNT}:role/{name}"),
        "AWS::Logs::LogGroup" => at.arn("logs", &format!("log-group:{name}:*")),
        "AWS::SNS::Topic" => at.arn("sns", name),
        "AWS::KMS::Key" => at.arn("kms", &format!("key/{name}")),
        "AWS::CloudWatch::Alarm" => at.arn("cloudwatch", &format!("alarm:{name}")),
        _ => {
            let mut parts = kind.split("::").skip(1);
            let service = parts.next().unwrap_or("unknown").to_lowercase();
            let rest = parts.next().unwrap_or("resource").to_lowercase();
            at.arn(&service, &format!("{rest}/{name}"))
        }
    }
}

/// Returns the value of `!Ref`.
pub(crate) fn reference(kind: &str, name: &str, arn: &str) -> String {
    match kind {
        "AWS::SQS::Queue" => queue_url(arn),
        "AWS::SNS::Topic" | "AWS::CloudFormation::Stack" | "AWS::Serverless::Application" => {
            arn.to_owned()
        }
        _ => name.to_owned(),
    }
}

/// Returns the value of `!GetAtt`; unknown if only the deployment decides it.
pub(crate) fn attribute(kind: &str, name: &str, arn: &str, attribute: &str) -> Value {
    match attribute {
        "Arn" | "TopicArn" => Value::Text(arn.to_owned()),
        "QueueName" | "TopicName" | "Name" => Value::Text(name.to_owned()),
        "QueueUrl" => Value::Text(queue_url(arn)),
        "StreamArn" if TABLES.contains(&kind) => Value::Text(format!("{arn}/stream/0")),
        _ => Value::Unknown,
    }
}

fn queue_url(arn: &str) -> String {
    let mut parts = arn.splitn(6, ':').skip(3);
    let mut next = || parts.next().unwrap_or_default();
    let (region, account, name) = (next(), next(), next());
    format!("https://sqs.{region}.amazonaws.com/{account}/{name}")
}
