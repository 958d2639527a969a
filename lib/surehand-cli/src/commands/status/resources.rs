//! The functions and queues of a stack and of those that it nests.

use anyhow::{Context as _, Result, bail};

use crate::{
    application::{project::Project, samconfig::Settings},
    cloud::{Cloud, reason},
};

#[derive(Debug, Default)]
pub(super) struct Resources {
    /// Names, as Lambda knows them.
    pub(super) functions: Vec<String>,
    /// URLs.
    pub(super) queues: Vec<String>,
}

impl Resources {
    pub(super) async fn of(cloud: &Cloud, stack: &str) -> Result<Self> {
        let client = aws_sdk_cloudformation::Client::new(&cloud.config);
        let mut found = Self::default();
        let mut stacks = vec![stack.to_owned()];
        while let Some(stack) = stacks.pop() {
            let pages = client.list_stack_resources().stack_name(&stack);
            let mut pages = pages.into_paginator().send();
            while let Some(page) = pages.next().await {
                let page = page.map_err(reason).with_context(|| {
                    format!(
                        "cannot list the resources of the stack {stack} at {}",
                        cloud.name()
                    )
                })?;
                for resource in page.stack_resource_summaries() {
                    let Some(id) = resource.physical_resource_id().filter(|id| !id.is_empty())
                    else {
                        continue;
                    };
                    match resource.resource_type() {
                        Some("AWS::Lambda::Function") => found.functions.push(id.to_owned()),
                        Some("AWS::SQS::Queue") => found.queues.push(id.to_owned()),
                        Some("AWS::CloudFormation::Stack") => stacks.push(id.to_owned()),
                        _ => {}
                    }
                }
            }
        }
        found.functions.sort_unstable();
        found.queues.sort_unstable();
        Ok(found)
    }
}

/// The stack that is meant: the named one, that of a running `surehand dev`, or the one that `sam deploy` takes.
pub(super) fn stack(cloud: &Cloud, named: Option<&str>) -> Result<String> {
    if let Some(name) = named {
        return Ok(name.to_owned());
    }
    if let Some(stack) = &cloud.stack {
        return Ok(stack.name.clone());
    }
    let of_project = || -> Result<Option<String>> {
        let Ok(project) = Project::here() else {
            return Ok(None);
        };
        let text = project.text("samconfig.toml")?.unwrap_or_default();
        let mut environments = Settings::environments(&text).with_context(|| {
            format!(
                "cannot read {}",
                project.root().join("samconfig.toml").display()
            )
        })?;
        Ok(environments.remove("default").and_then(|it| it.stack_name))
    };
    match of_project()? {
        Some(name) => Ok(name),
        None => bail!(
            "no stack: pass --stack-name, or go to the folder of an application whose samconfig.toml names one"
        ),
    }
}
