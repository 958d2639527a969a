//! What `samconfig.toml` says of its environments, so that a project says it once for the SAM CLI and for `surehand`.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::project::Project;

/// The stack's name, and its parameters other than those that only the command knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) stack_name: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) parameters: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct Environment {
    #[serde(default)]
    global: Command,
    #[serde(default)]
    deploy: Command,
}

#[derive(Default, Deserialize)]
struct Command {
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Default, Deserialize)]
struct Parameters {
    stack_name: Option<String>,
    region: Option<String>,
    parameter_overrides: Option<Overrides>,
}

/// The SAM CLI takes both.
#[derive(Deserialize)]
#[serde(untagged)]
enum Overrides {
    List(Vec<String>),
    Text(String),
}

impl Settings {
    /// Reads the environment named `emulator` in `root`'s `samconfig.toml`; without one there are no settings.
    pub(crate) fn read(project: &Project) -> Result<Self> {
        let text = project.text("samconfig.toml")?.unwrap_or_default();
        let path = project.root().join("samconfig.toml");
        Self::parse(&text).with_context(|| format!("cannot read {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        Ok(Self::environments(text)?
            .remove("emulator")
            .unwrap_or_default())
    }

    /// The settings of every environment.
    pub(crate) fn environments(text: &str) -> Result<BTreeMap<String, Self>> {
        let file: toml::Table = toml::from_str(text)?;
        // Besides the environments the file has its version.
        let environments = file.into_iter().filter(|(_, value)| value.is_table());
        environments
            .map(|(name, table)| {
                let settings = Self::of(table.try_into()?)
                    .with_context(|| format!("in the environment {name}"))?;
                Ok((name, settings))
            })
            .collect()
    }

    fn of(environment: Environment) -> Result<Self> {
        let mut settings = Self::default();
        // The parameters of `deploy` override those of every command.
        for Parameters {
            stack_name,
            region,
            parameter_overrides,
        } in [environment.global.parameters, environment.deploy.parameters]
        {
            settings.stack_name = stack_name.or(settings.stack_name);
            settings.region = region.or(settings.region);
            let overrides = match parameter_overrides {
                Some(Overrides::List(list)) => list,
                Some(Overrides::Text(text)) => text.split_whitespace().map(str::to_owned).collect(),
                None => continue,
            };
            for item in overrides {
                let (name, value) = item
                    .split_once('=')
                    .with_context(|| format!("`{item}` has no value: write it as NAME=VALUE"))?;
                let value = value.trim_matches('"');
                settings
                    .parameters
                    .insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_emulator_is_read_and_deploy_wins() {
        let settings = Settings::parse(
            r#"
            version = 0.1
            [default.global.parameters]
            stack_name = "elsewhere"
            [emulator.global.parameters]
            stack_name = "shop"
            parameter_overrides = ["FunctionTimeout=10", "LogLevel=DEBUG"]
            [emulator.deploy.parameters]
            resolve_s3 = true
            parameter_overrides = "LogLevel=TRACE Name=\"a=b\""
            "#,
        )
        .unwrap();
        assert_eq!(settings.stack_name.as_deref(), Some("shop"));
        assert_eq!(
            settings.parameters,
            BTreeMap::from(
                [
                    ("FunctionTimeout", "10"),
                    ("LogLevel", "TRACE"),
                    ("Name", "a=b")
                ]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
            )
        );
    }

    #[test]
    fn a_file_without_the_emulator_has_no_settings() {
        assert_eq!(
            Settings::parse("version = 0.1").unwrap(),
            Settings::default()
        );
        let error =
            Settings::parse("[emulator.global.parameters]\nparameter_overrides = [\"Stage\"]")
                .unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "in the environment emulator: `Stage` has no value: write it as NAME=VALUE"
        );
    }
}
