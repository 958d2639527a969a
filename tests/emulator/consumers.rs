//! The shop's functions once more, under other names and with queues of their own: what a test does to these
//! disturbs no other part, and their messages come back soon.

use super::{dev::Dev, shop::Shop};
use aws_sdk_lambda::{
    primitives::Blob,
    types::{Environment, FunctionCode, FunctionResponseType, Runtime, ScalingConfig},
};
use aws_sdk_sqs::types::QueueAttributeName;
use futures_util::future::join_all;
use serde_json::json;
use std::{collections::HashMap, fs, process::Command, time::Duration};
use surehand_test_support::cargo;

/// A function to deploy.
pub(crate) struct Wanted<'a> {
    /// Nobody else's.
    pub(crate) name: &'a str,
    /// The output that names the shop's function whose code and variables it has.
    pub(crate) like: &'a str,
    /// Its package.
    pub(crate) package: &'a str,
    /// In whole seconds.
    pub(crate) timeout: Duration,
    /// The visibility timeout of its queues, in whole seconds.
    pub(crate) visibility: Duration,
    pub(crate) queues: usize,
    /// What differs in its variables.
    pub(crate) variables: &'a [(&'a str, String)],
}

/// A function with queues that it does not read before it is told to, and one queue for their dead letters.
pub(crate) struct Consumer {
    pub(crate) queues: Vec<Queue>,
    pub(crate) letters: String,
}

pub(crate) struct Queue {
    pub(crate) url: String,
    /// The id of the event source mapping.
    mapping: String,
}

/// As many receives as in infra/reliable-queue.yaml.
const MAX_RECEIVES: &str = "50";

/// The least that Lambda takes; a queue here has a batch or a few.
const READERS: i32 = 2;

impl Consumer {
    pub(crate) async fn deploy(dev: &Dev, shop: &Shop, role: &str, wanted: Wanted<'_>) -> Self {
        let letters = format!("{}-dlq", wanted.name);
        let (letters, arn) = create(shop, &letters, &[]).await;
        let policy = json!({ "deadLetterTargetArn": arn, "maxReceiveCount": MAX_RECEIVES });
        let mut variables: HashMap<String, String> = shop.function(wanted.like).await.variables;
        // Other tests count the traces.
        variables.remove("OTEL_EXPORTER_OTLP_ENDPOINT");
        variables.insert("DEAD_LETTER_QUEUE_URL".into(), letters.clone());
        for (name, value) in wanted.variables {
            variables.insert((*name).to_owned(), value.clone());
        }
        let package = dev.folder().join("packages").join(wanted.package);
        let code = FunctionCode::builder().zip_file(Blob::new(fs::read(package).unwrap()));
        shop.lambda
            .create_function()
            .function_name(wanted.name)
            .role(role)
            .runtime(Runtime::from("provided.al2023"))
            .handler("bootstrap")
            .code(code.build())
            .timeout(i32::try_from(wanted.timeout.as_secs()).unwrap())
            .environment(
                Environment::builder()
                    .set_variables(Some(variables))
                    .build(),
            )
            .send()
            .await
            .unwrap();
        let visibility = wanted.visibility.as_secs().to_string();
        let attributes = [
            (QueueAttributeName::VisibilityTimeout, visibility),
            (QueueAttributeName::RedrivePolicy, policy.to_string()),
        ];
        let queues = (0..wanted.queues).map(async |number| {
            let name = format!("{}-{number}", wanted.name);
            let (url, arn) = create(shop, &name, &attributes).await;
            let readers = ScalingConfig::builder().maximum_concurrency(READERS);
            let mapping = shop
                .lambda
                .create_event_source_mapping()
                .function_name(wanted.name)
                .event_source_arn(arn)
                .batch_size(10)
                .function_response_types(FunctionResponseType::ReportBatchItemFailures)
                .scaling_config(readers.build())
                .enabled(false)
                .send()
                .await
                .unwrap();
            let mapping = mapping.uuid().unwrap().to_owned();
            Queue { url, mapping }
        });
        Self {
            queues: join_all(queues).await,
            letters,
        }
    }

    /// Has the function read its queues, or stops it.
    pub(crate) async fn read(&self, shop: &Shop, is_reading: bool) {
        let updates = self.queues.iter().map(|queue| {
            let update = shop.lambda.update_event_source_mapping();
            update.uuid(&queue.mapping).enabled(is_reading).send()
        });
        for updated in join_all(updates).await {
            updated.unwrap();
        }
        if !is_reading {
            // The emulator may be polling at this moment.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// How many messages its queues have, in flight or not.
    pub(crate) async fn waiting(&self, shop: &Shop) -> usize {
        let depths = self.queues.iter().map(|queue| shop.depth(&queue.url));
        join_all(depths).await.into_iter().sum()
    }

    /// How many messages of each queue can be received.
    pub(crate) async fn visible(&self, shop: &Shop) -> Vec<usize> {
        let asked = self.queues.iter().map(async |queue| {
            let name = QueueAttributeName::ApproximateNumberOfMessages;
            let asked = shop.sqs.get_queue_attributes().queue_url(&queue.url);
            let answer = asked.attribute_names(name.clone()).send().await.unwrap();
            answer.attributes().unwrap()[&name].parse().unwrap()
        });
        join_all(asked).await
    }
}

/// Returns the queue's URL and its ARN.
async fn create(
    shop: &Shop,
    name: &str,
    attributes: &[(QueueAttributeName, String)],
) -> (String, String) {
    let create = shop.sqs.create_queue().queue_name(name);
    let create = create.set_attributes(Some(attributes.iter().cloned().collect()));
    let url = create.send().await.unwrap().queue_url.unwrap();
    let asked = shop.sqs.get_queue_attributes().queue_url(&url);
    let asked = asked.attribute_names(QueueAttributeName::QueueArn);
    let attributes = asked.send().await.unwrap().attributes.unwrap();
    (url, attributes[&QueueAttributeName::QueueArn].clone())
}

/// Makes a role that may do everything, and returns its ARN: what a function may do is tested with the shop's own.
pub(crate) fn role(dev: &Dev) -> String {
    let program = r#"
import boto3, json
def policy(**statement): return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]})
iam = boto3.client("iam", region_name="us-east-1")
trust = policy(Principal={"Service": "lambda.amazonaws.com"}, Action="sts:AssumeRole")
role = iam.create_role(RoleName="consumers", AssumeRolePolicyDocument=trust)
iam.put_role_policy(RoleName="consumers", PolicyName="all", PolicyDocument=policy(Action="*", Resource="*"))
print(role["Role"]["Arn"])"#;
    let mut python = Command::new(cargo::tools().join("bin/python"));
    let python = python.args(["-I", "-c", program]);
    let output = python
        .envs(dev.stack.variables())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
