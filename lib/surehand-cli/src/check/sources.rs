//! The files that are checked.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result};

use crate::application::{project::Project, samconfig::Settings, templates::Templates, yaml::Node};

pub(crate) struct Sources {
    pub(crate) templates: Templates,
    /// The workspace's `Cargo.toml`.
    pub(crate) manifest: String,
    pub(crate) samconfig: Option<String>,
}

/// An environment that the application is deployed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) stack: String,
    pub(crate) region: String,
    pub(crate) parameters: BTreeMap<String, String>,
}

/// Where samconfig.toml names none.
const STACK: &str = "app";
const REGION: &str = "us-east-1";
/// A parameter with more allowed values than these is a scale, and not a choice.
const MOST_VALUES: usize = 16;

impl Setting {
    fn of(settings: Settings) -> Self {
        Self {
            stack: settings.stack_name.unwrap_or_else(|| STACK.to_owned()),
            region: settings.region.unwrap_or_else(|| REGION.to_owned()),
            parameters: settings.parameters,
        }
    }
}

impl Sources {
    pub(crate) fn read(project: &Project) -> Result<Self> {
        Self::read_by(project.root(), &project.main(), |file| project.text(file))
    }

    /// Takes the texts of files from `read`, which gets their paths below `root`.
    pub(crate) fn read_by(
        root: &Path,
        main: &str,
        read: impl Fn(&str) -> Result<Option<String>>,
    ) -> Result<Self> {
        Ok(Self {
            templates: Templates::read_by(root, main, &read)?,
            manifest: read("Cargo.toml")?.unwrap_or_default(),
            samconfig: read("samconfig.toml")?,
        })
    }

    /// The environments of samconfig.toml other than emulators; one of defaults if there are none.
    pub(crate) fn settings(&self) -> Result<Vec<Setting>> {
        let text = self.samconfig.as_deref().unwrap_or_default();
        let environments = Settings::environments(text).context("cannot read samconfig.toml")?;
        let mut settings: Vec<Setting> = environments
            .into_values()
            // An emulator lacks what a template can do without there: an archive, TLS.
            .filter(|it| {
                it.parameters
                    .get("EndpointUrl")
                    .is_none_or(String::is_empty)
            })
            .map(Setting::of)
            .collect();
        if settings.is_empty() {
            settings.push(Setting::of(Settings::default()));
        }
        Ok(settings)
    }

    /// Each value that a parameter of the application may have.
    pub(crate) fn allowed_values(&self) -> Vec<(String, String)> {
        let mut values = Vec::new();
        for (name, parameter) in self.templates.parameters() {
            let allowed = parameter.get("AllowedValues").map_or(&[][..], Node::items);
            if allowed.len() <= MOST_VALUES {
                let texts = allowed.iter().filter_map(Node::text);
                values.extend(texts.map(|value| (name.to_owned(), value.to_owned())));
            }
        }
        values
    }

    /// The default of a parameter of the application.
    pub(crate) fn default_of(&self, name: &str) -> Option<String> {
        let mut parameters = self.templates.parameters();
        let (_, parameter) = parameters.find(|(own, _)| *own == name)?;
        parameter.get("Default")?.text().map(str::to_owned)
    }
}
