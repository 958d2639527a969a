//! The application the command works on: where its template is, and which packages build its functions.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use cargo_metadata::{CargoOpt, Metadata, MetadataCommand};

const TEMPLATES: [&str; 2] = ["template.yaml", "template.yml"];

/// A folder with a SAM template, and the state that the command keeps in it.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    root: PathBuf,
    template: PathBuf,
}

impl Project {
    /// Finds the nearest folder with a template, from `start` upwards, as cargo finds its manifest.
    pub(crate) fn find(start: &Path) -> Result<Self> {
        for folder in start.ancestors() {
            for name in TEMPLATES {
                let template = folder.join(name);
                if template.is_file() {
                    return Ok(Self {
                        root: folder.to_owned(),
                        template,
                    });
                }
            }
        }
        bail!(
            "no {} in {} or a folder above it: go to an application's folder, or create one with `surehand new`",
            TEMPLATES[0],
            start.display()
        )
    }

    pub(crate) fn here() -> Result<Self> {
        Self::find(&std::env::current_dir().context("the current folder no longer exists")?)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn template(&self) -> &Path {
        &self.template
    }

    /// The path of the template below the root.
    pub(crate) fn main(&self) -> String {
        let path = self.template.strip_prefix(&self.root);
        path.unwrap_or(&self.template)
            .to_string_lossy()
            .into_owned()
    }

    /// Reads a file below the root; none if there is no such file.
    pub(crate) fn text(&self, file: &str) -> Result<Option<String>> {
        let path = self.root.join(file);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Returns the folder `.surehand`, which is created on first use. It has its own `.gitignore`,
    /// so that projects need not ignore it.
    pub(crate) fn state(&self) -> Result<PathBuf> {
        let folder = self.root.join(".surehand");
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let ignore = folder.join(".gitignore");
        if !ignore.exists() {
            fs::write(&ignore, "*\n")
                .with_context(|| format!("cannot write {}", ignore.display()))?;
        }
        Ok(folder)
    }

    /// Asks cargo about the workspace; blocks as long as cargo takes.
    pub(crate) fn workspace(&self) -> Result<Workspace> {
        let metadata = MetadataCommand::new()
            .current_dir(&self.root)
            .no_deps()
            .features(CargoOpt::SomeFeatures(Vec::new()))
            .exec()
            .map_err(|error| match error {
                cargo_metadata::Error::Io(error)
                    if error.kind() == std::io::ErrorKind::NotFound =>
                {
                    anyhow::anyhow!("cargo is not on the PATH: install Rust first")
                }
                error => anyhow::anyhow!("cargo metadata failed: {error}"),
            })?;
        Ok(Workspace { metadata })
    }
}

/// A package's binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binary {
    pub(crate) package: String,
    /// The package's manifest.
    pub(crate) manifest: String,
}

/// The cargo workspace around the template.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    metadata: Metadata,
}

impl Workspace {
    /// Returns the names of the packages that have `binaries`; the error names the first binary
    /// that no package has.
    pub(crate) fn packages_of<'a>(
        &self,
        binaries: impl IntoIterator<Item = &'a str>,
    ) -> Result<BTreeSet<String>> {
        binaries
            .into_iter()
            .map(|binary| {
                self.metadata
                    .workspace_packages()
                    .into_iter()
                    .find(|package| {
                        package
                            .targets
                            .iter()
                            .any(|target| target.is_bin() && target.name == binary)
                    })
                    .map(|package| package.name.to_string())
                    .with_context(|| {
                        format!("the template names the binary `{binary}`, but no package of the workspace has it: add it, or correct `Metadata.BuildProperties.Binary`")
                    })
            })
            .collect()
    }

    /// Returns every binary by its name, with the packages that have it. Paths are relative to
    /// `root`.
    pub(crate) fn binaries(&self, root: &Path) -> BTreeMap<String, Vec<Binary>> {
        let mut binaries: BTreeMap<String, Vec<Binary>> = BTreeMap::new();
        for package in self.metadata.workspace_packages() {
            let manifest = package.manifest_path.as_std_path();
            let manifest = manifest.strip_prefix(root).unwrap_or(manifest);
            for target in package.targets.iter().filter(|target| target.is_bin()) {
                let binary = Binary {
                    package: package.name.to_string(),
                    manifest: manifest.to_string_lossy().into_owned(),
                };
                binaries
                    .entry(target.name.clone())
                    .or_default()
                    .push(binary);
            }
        }
        binaries
    }

    /// Returns the packages that a plain `cargo run` selects.
    pub(crate) fn default_packages(&self) -> BTreeSet<String> {
        self.metadata
            .workspace_default_packages()
            .into_iter()
            .map(|package| package.name.to_string())
            .collect()
    }

    /// Returns the folders whose changes can change a function: those of all members.
    pub(crate) fn source_folders(&self) -> BTreeSet<PathBuf> {
        self.metadata
            .workspace_packages()
            .into_iter()
            .filter_map(|package| package.manifest_path.parent())
            .map(|folder| folder.as_std_path().to_owned())
            .collect()
    }
}
