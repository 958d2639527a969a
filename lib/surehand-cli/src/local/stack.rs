//! A deployed stack: its outputs and functions, and the file by which `publish` and `invoke` find it.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use aws_config::SdkConfig;
use aws_sdk_cloudformation::Client;
use serde::{Deserialize, Serialize};

use crate::{
    application::{project::Project, templates},
    local::emulator::{self, Key},
    private,
};

/// What is known of a stack after its deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stack {
    pub(crate) name: String,
    pub(crate) endpoint: String,
    /// Without it the emulator answers nobody.
    pub(crate) key: Key,
    pub(crate) outputs: BTreeMap<String, String>,
    pub(crate) functions: Vec<Function>,
}

/// A deployed function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Function {
    pub(crate) logical_id: String,
    /// The name that Lambda knows it by.
    pub(crate) name: String,
    /// The binary it runs, which is also its short name.
    pub(crate) binary: String,
}

impl Stack {
    /// The run of `surehand dev`, unless it has another name.
    pub(crate) const DEFAULT_RUN: &str = "dev";

    /// Asks CloudFormation for what `sam deploy` made of the template.
    pub(crate) async fn describe(
        config: &SdkConfig,
        name: &str,
        (endpoint, key): (&str, &Key),
        functions: &[templates::Function],
    ) -> Result<Self> {
        let cloudformation = Client::new(config);
        let stacks = cloudformation
            .describe_stacks()
            .stack_name(name)
            .send()
            .await
            .with_context(|| format!("cannot describe the stack {name}"))?;
        let outputs = stacks
            .stacks()
            .iter()
            .flat_map(|stack| stack.outputs())
            .filter_map(|output| {
                Some((
                    output.output_key()?.to_owned(),
                    output.output_value()?.to_owned(),
                ))
            })
            .collect();
        let mut resources = Resources::of(name, cloudformation);
        let mut deployed = Vec::new();
        for function in functions {
            deployed.push(Function {
                logical_id: function.logical_id.clone(),
                name: resources.physical_id(&function.logical_id).await?,
                binary: function.binary.clone(),
            });
        }
        Ok(Self {
            name: name.to_owned(),
            endpoint: endpoint.to_owned(),
            key: key.clone(),
            outputs,
            functions: deployed,
        })
    }

    /// The stack that a run has announced in this project, whether it answers or not.
    pub(crate) fn announced(run: &str) -> Option<Self> {
        let project = Project::here().ok()?;
        let folder = project.state().ok()?.join(run);
        let text = fs::read_to_string(Self::file(&folder)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Whether the run that announced it goes on. One that was killed leaves its file, and then its port may be
    /// anybody's.
    pub(crate) async fn answers(&self, run: &str) -> bool {
        let lock = Project::here()
            .and_then(|project| project.state())
            .ok()
            .and_then(|state| File::open(Self::lock(&state.join(run))).ok());
        lock.is_some_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
            && emulator::is_healthy(&self.endpoint, &self.key).await
    }

    /// The configuration of clients of this stack, with the credentials of the account's owner.
    pub(crate) fn config(&self) -> SdkConfig {
        emulator::config(&self.endpoint, &self.key)
    }

    /// Lets `publish` and `invoke` find this stack; `folder` is the run's own.
    pub(crate) fn announce(&self, folder: &Path) -> Result<()> {
        let file = Self::file(folder);
        let draft = file.with_extension("draft");
        private::write(&Self::profile(folder), self.as_profile())?;
        private::write(&draft, serde_json::to_vec_pretty(self)?)?;
        fs::rename(&draft, &file).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Undoes [`Stack::announce`].
    pub(crate) fn withdraw(folder: &Path) {
        // The file may not exist; if it stays, it names an endpoint that does not answer.
        drop(fs::remove_file(Self::file(folder)));
        drop(fs::remove_file(Self::profile(folder)));
    }

    /// The file that other clients of AWS take for `AWS_CONFIG_FILE`.
    pub(crate) fn profile(folder: &Path) -> PathBuf {
        folder.join("aws.config")
    }

    fn as_profile(&self) -> String {
        let Self { endpoint, key, .. } = self;
        let Key { id, secret } = key;
        let region = emulator::REGION;
        format!(
            "[default]\nregion = {region}\nendpoint_url = {endpoint}\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n"
        )
    }

    /// The file that a run holds locked as long as it lives.
    pub(crate) fn lock(folder: &Path) -> PathBuf {
        folder.join("lock")
    }

    fn file(folder: &Path) -> PathBuf {
        folder.join("stack.json")
    }

    /// An output, which the template must have.
    pub(crate) fn output(&self, key: &str) -> Result<&str> {
        self.outputs
            .get(key)
            .map(String::as_str)
            .with_context(|| format!("the template has no output {key}"))
    }

    /// The function of this full name, logical id or short name. In a stack `order` the full name of one can be the
    /// short name of another, and a full name is what the cloud says.
    pub(crate) fn function(&self, name: &str) -> Option<&Function> {
        let of = |known: fn(&Function) -> &String| {
            let mut functions = self.functions.iter();
            functions.find(|function| known(function) == name)
        };
        of(|it| &it.name)
            .or_else(|| of(|it| &it.logical_id))
            .or_else(|| of(|it| &it.binary))
    }

    /// Every queue among the outputs: (name of the output without `Url`, URL).
    pub(crate) fn queues(&self) -> impl Iterator<Item = (&str, &str)> {
        self.outputs
            .iter()
            .filter_map(|(key, url)| Some((key.strip_suffix("Url")?, url.as_str())))
            .filter(|(name, _)| name.ends_with("Queue"))
    }
}

/// The physical ids of the resources of a stack and of its nested stacks.
struct Resources<'a> {
    stack: &'a str,
    cloudformation: Client,
    /// Of each stack so far, by logical id.
    known: BTreeMap<String, BTreeMap<String, String>>,
}

impl<'a> Resources<'a> {
    fn of(stack: &'a str, cloudformation: Client) -> Self {
        Self {
            stack,
            cloudformation,
            known: BTreeMap::new(),
        }
    }

    /// Follows the stacks before the resource's own name, as in `Orders/Worker`.
    async fn physical_id(&mut self, path: &str) -> Result<String> {
        let mut id = self.stack.to_owned();
        for part in path.split('/') {
            if !self.known.contains_key(&id) {
                let listed = list(&self.cloudformation, &id).await?;
                self.known.insert(id.clone(), listed);
            }
            let found = self.known.get(&id).and_then(|all| all.get(part));
            id = (found.cloned())
                .with_context(|| format!("the stack {} has no resource {path}", self.stack))?;
        }
        Ok(id)
    }
}

async fn list(cloudformation: &Client, stack: &str) -> Result<BTreeMap<String, String>> {
    let mut physical = BTreeMap::new();
    let mut pages = cloudformation
        .list_stack_resources()
        .stack_name(stack)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.with_context(|| format!("cannot list the resources of {stack}"))?;
        for resource in page.stack_resource_summaries() {
            if let (Some(logical), Some(id)) = (
                resource.logical_resource_id(),
                resource.physical_resource_id(),
            ) {
                physical.insert(logical.to_owned(), id.to_owned());
            }
        }
    }
    Ok(physical)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack() -> Stack {
        Stack {
            name: "shop".to_owned(),
            endpoint: "http://127.0.0.1:1".to_owned(),
            key: Key::new().unwrap(),
            outputs: BTreeMap::from([
                ("EventBusName".to_owned(), "shop-bus".to_owned()),
                (
                    "AuditDeadLetterQueueUrl".to_owned(),
                    "http://q/2".to_owned(),
                ),
                ("StockQueueUrl".to_owned(), "http://q/1".to_owned()),
            ]),
            functions: vec![Function {
                logical_id: "PlaceOrder".to_owned(),
                name: "shop-place-order".to_owned(),
                binary: "place-order".to_owned(),
            }],
        }
    }

    #[test]
    fn a_function_has_three_names() {
        let stack = stack();
        for name in ["place-order", "PlaceOrder", "shop-place-order"] {
            assert_eq!(stack.function(name), Some(&stack.functions[0]));
        }
        assert_eq!(stack.function("place"), None);
    }

    #[test]
    fn a_full_name_is_not_taken_for_the_short_name_of_another_function() {
        let function = |logical_id: &str, name: &str, binary: &str| Function {
            logical_id: logical_id.to_owned(),
            name: name.to_owned(),
            binary: binary.to_owned(),
        };
        let mut stack = stack();
        stack.functions = vec![
            function("OrderAudit", "order-order-audit", "order-audit"),
            function("Audit", "order-audit", "audit"),
        ];
        for (name, binary) in [
            ("order-audit", "audit"),
            ("order-order-audit", "order-audit"),
            ("OrderAudit", "order-audit"),
            ("audit", "audit"),
        ] {
            assert_eq!(stack.function(name).unwrap().binary, binary, "{name}");
        }
    }

    #[test]
    fn queues_are_found_among_the_outputs() {
        let stack = stack();
        let queues: Vec<_> = stack.queues().collect();
        assert_eq!(
            queues,
            [
                ("AuditDeadLetterQueue", "http://q/2"),
                ("StockQueue", "http://q/1")
            ]
        );
    }
}
