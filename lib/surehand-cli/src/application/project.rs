//! The application the command works on: where its template is, and which packages build its functions.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::ErrorKind,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use cargo_metadata::{CargoOpt, Metadata, MetadataCommand};

use super::yaml;
use crate::private;

const TEMPLATES: [&str; 2] = ["template.yaml", "template.yml"];

/// A folder with a SAM template, and the state that the command keeps in it.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    root: PathBuf,
    template: PathBuf,
}

impl Project {
    /// Finds the nearest folder with a template, from `start` upwards, as cargo finds its manifest. Fails if the folder
    /// belongs to another user, because the command builds and runs what is in it.
    pub(crate) fn find(start: &Path) -> Result<Self> {
        for folder in start.ancestors() {
            for name in TEMPLATES {
                let template = folder.join(name);
                if template.is_file() {
                    for path in [folder, &template] {
                        must_be_trusted(path)?;
                    }
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

    /// Reads a file below the root; none if there is no such file, or if it is a link to a file outside of the root.
    pub(crate) fn text(&self, file: &str) -> Result<Option<String>> {
        let path = self.root.join(file);
        let cannot_read = || format!("cannot read {}", path.display());
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(cannot_read),
        };
        if !real.starts_with(self.root.canonicalize().with_context(cannot_read)?) {
            return Ok(None);
        }
        // To open a pipe waits for a writer, and a device may never end.
        let metadata = fs::metadata(&real).with_context(cannot_read)?;
        if !metadata.is_file() {
            bail!("{}: it is not a regular file", cannot_read());
        }
        let most = yaml::MAX_BYTES;
        if usize::try_from(metadata.len()).map_or(true, |bytes| bytes > most) {
            bail!("{}: it has more than {most} bytes", cannot_read());
        }
        fs::read_to_string(&real)
            .map(Some)
            .with_context(cannot_read)
    }

    /// Returns the folder `.surehand`, which is created on first use. It has its own `.gitignore`, so that projects need
    /// not ignore it. Only its owner may read it. Fails if it belongs to another user, because what is in it says where
    /// the command sends events.
    pub(crate) fn state(&self) -> Result<PathBuf> {
        let folder = self.root.join(".surehand");
        private::folder(&folder)?;
        let ignore = folder.join(".gitignore");
        if !ignore.exists() {
            private::write(&ignore, "*\n")?;
        }
        Ok(folder)
    }

    /// Asks cargo about the workspace; blocks as long as cargo takes.
    pub(crate) fn workspace(&self) -> Result<Workspace> {
        let mut command = MetadataCommand::new();
        for variable in credentials() {
            command.env_remove(variable);
        }
        let metadata = command
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

/// Fails if the file or folder, which may be a link, belongs to another user than the one who runs the command. What
/// root owns is trusted as well.
fn must_be_trusted(path: &Path) -> Result<()> {
    let metadata = fs::symlink_metadata(path)
        .with_context(|| format!("cannot find out whose {} is", path.display()))?;
    let user = rustix::process::geteuid().as_raw();
    if !is_trusted(metadata.uid(), user) {
        bail!(
            "{} belongs to another user (uid {}), and what is in it would be run: take it over with chown, or go to a project of your own",
            path.display(),
            metadata.uid()
        );
    }
    Ok(())
}

fn is_trusted(owner: u32, user: u32) -> bool {
    owner == user || owner == 0
}

/// The variables that a build must not see: code of dependencies runs in it. What `aws-lc-sys` reads only says how it is
/// compiled.
pub(crate) fn credentials() -> impl Iterator<Item = std::ffi::OsString> {
    let names = env::vars_os().map(|(name, _)| name);
    names.filter(|name| is_credential(&name.to_string_lossy()))
}

fn is_credential(variable: &str) -> bool {
    variable.starts_with("AWS_") && !variable.starts_with("AWS_LC_")
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

    /// Returns the path of the lock file, whether there is one or not.
    pub(crate) fn lock_file(&self) -> PathBuf {
        self.metadata
            .workspace_root
            .join("Cargo.lock")
            .into_std_path_buf()
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn project() -> (tempfile::TempDir, Project) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("app");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("template.yaml"), "Resources: {}").unwrap();
        let project = Project::find(&root.join("some/folder")).unwrap();
        (folder, project)
    }

    #[test]
    fn only_regular_files_below_the_root_are_read() {
        let (folder, project) = project();
        let root = project.root();
        fs::write(folder.path().join("other.yaml"), "Resources: {}").unwrap();
        symlink("../other.yaml", root.join("link.yaml")).unwrap();
        symlink("/dev/zero", root.join("zero.yaml")).unwrap();
        assert!(project.text("template.yaml").unwrap().is_some());
        for outside in [
            "../other.yaml",
            "link.yaml",
            "zero.yaml",
            "/dev/zero",
            "nothing.yaml",
        ] {
            assert_eq!(project.text(outside).unwrap(), None, "{outside}");
        }
        let pipe = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, root.join("pipe.yaml"), pipe).unwrap();
        fs::create_dir(root.join("folder.yaml")).unwrap();
        for not_regular in ["pipe.yaml", "folder.yaml"] {
            let error = project.text(not_regular).unwrap_err().to_string();
            assert!(error.ends_with(": it is not a regular file"), "{error}");
        }
        fs::write(root.join("large.yaml"), " ".repeat(yaml::MAX_BYTES + 1)).unwrap();
        let error = project.text("large.yaml").unwrap_err().to_string();
        assert!(
            error.ends_with(": it has more than 2097152 bytes"),
            "{error}"
        );
    }

    #[test]
    fn what_another_user_owns_is_not_trusted() {
        assert!(is_trusted(1000, 1000) && is_trusted(0, 1000));
        assert!(!is_trusted(1001, 1000) && !is_trusted(1000, 0));
        let (_folder, project) = project();
        let other = Some(rustix::fs::Uid::from_raw(65_534));
        // Only root can give a file away.
        if rustix::process::geteuid().is_root() {
            let state = project.state().unwrap();
            rustix::fs::chown(&state, other, None).unwrap();
            let error = project.state().unwrap_err().to_string();
            assert!(
                error.contains("belongs to another user (uid 65534)"),
                "{error}"
            );
            rustix::fs::chown(project.root(), other, None).unwrap();
            assert!(Project::find(project.root()).is_err());
        }
    }

    #[test]
    fn the_state_is_the_owners_alone() {
        let (_folder, project) = project();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let state = project.root().join(".surehand");
        fs::create_dir(&state).unwrap();
        fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(mode(&project.state().unwrap()), 0o700);
        fs::remove_dir_all(&state).unwrap();
        assert_eq!(mode(&project.state().unwrap()), 0o700);
        fs::remove_dir_all(&state).unwrap();
        symlink("/", &state).unwrap();
        assert!(project.state().is_err());
    }

    #[test]
    fn a_build_sees_no_credentials() {
        for variable in ["AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"] {
            assert!(is_credential(variable));
        }
        assert!(!is_credential("AWS_LC_SYS_CMAKE_BUILDER") && !is_credential("PATH"));
    }
}
