//! The files that are checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    rc::Rc,
};

use anyhow::{Context, Result};

use crate::application::{
    evaluate::{Templates, located},
    project::Project,
    samconfig::Settings,
    yaml::Node,
};

pub(crate) struct Sources {
    /// The application's template.
    pub(crate) main: String,
    /// It and those that it nests.
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

/// Where nobody says otherwise.
const STACK: &str = "app";
const REGION: &str = "us-east-1";
/// A parameter with more values than these is a scale, and not a choice.
const MOST_VALUES: usize = 16;

impl Sources {
    pub(crate) fn read(project: &Project) -> Result<Self> {
        let root = project.root();
        let main = project.template().strip_prefix(root)?;
        let main = main.to_string_lossy().into_owned();
        Self::read_by(&main, |file| {
            let path = root.join(file);
            match fs::read_to_string(&path) {
                Ok(text) => Ok(Some(text)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
            }
        })
    }

    /// With the texts of files by their path in the project.
    pub(crate) fn read_by(
        main: &str,
        read: impl Fn(&str) -> Result<Option<String>>,
    ) -> Result<Self> {
        let mut templates = Templates::new();
        let mut open = vec![main.to_owned()];
        while let Some(file) = open.pop() {
            if templates.contains_key(&file) {
                continue;
            }
            // One that is not here is somewhere else, and nothing is known of it.
            let Some(text) = read(&file)? else {
                continue;
            };
            let template = Node::parse(&file, &text)?;
            let resources = template.get("Resources");
            for (_, resource) in resources.into_iter().flat_map(Node::entries) {
                let nested = ["TemplateURL", "Location"]
                    .iter()
                    .filter_map(|name| resource.at(&["Properties", name])?.text())
                    .filter(|path| !path.contains("://"));
                open.extend(nested.map(|path| located(&file, path)));
            }
            templates.insert(file, Rc::new(template));
        }
        Ok(Self {
            main: main.to_owned(),
            templates,
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
            .map(|it| Setting {
                stack: it.stack_name.unwrap_or_else(|| STACK.to_owned()),
                region: it.region.unwrap_or_else(|| REGION.to_owned()),
                parameters: it.parameters,
            })
            .collect();
        if settings.is_empty() {
            settings.push(Setting {
                stack: STACK.to_owned(),
                region: REGION.to_owned(),
                parameters: BTreeMap::new(),
            });
        }
        Ok(settings)
    }

    /// The binaries that the functions are made from.
    pub(crate) fn binaries(&self) -> BTreeSet<String> {
        let templates = self.templates.values();
        let resources = templates.filter_map(|template| template.get("Resources"));
        let resources = resources.flat_map(Node::entries);
        let names = resources.filter_map(|(_, resource)| {
            resource
                .at(&["Metadata", "BuildProperties", "Binary"])?
                .text()
        });
        names.map(str::to_owned).collect()
    }

    /// Each value that a parameter of the application may have.
    pub(crate) fn allowed_values(&self) -> Vec<(String, String)> {
        let mut values = Vec::new();
        for (name, parameter) in self.parameters() {
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
        let mut parameters = self.parameters();
        let (_, parameter) = parameters.find(|(own, _)| *own == name)?;
        parameter.get("Default")?.text().map(str::to_owned)
    }

    fn parameters(&self) -> impl Iterator<Item = (&str, &Node)> {
        let main = self.templates.get(&self.main);
        let parameters = main.and_then(|template| template.get("Parameters"));
        parameters.into_iter().flat_map(Node::entries)
    }
}
