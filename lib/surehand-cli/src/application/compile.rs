//! Builds the functions with cargo and packs each as a zip with its `bootstrap`.
//!
//! `sam build` stays the way to AWS. Here cargo builds in the dev profile, which the project has built anyway,
//! and the zip is stored uncompressed, since it only travels to an emulator on this machine.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command as StdCommand,
    time::SystemTime,
};

use anyhow::{Context, Result, bail};
use cargo_metadata::Message;
use tokio::process::Command;

use crate::{
    application::project::{self, Project, Workspace},
    child, private,
    progress::Step,
};

/// Which of cargo's profiles the functions are built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    Release,
}

/// What to build, and where the packages go.
#[derive(Debug, Clone)]
pub(crate) struct Compiler {
    root: PathBuf,
    binaries: BTreeSet<String>,
    packages: BTreeSet<String>,
    profile: Profile,
    output: PathBuf,
    lock_file: PathBuf,
}

/// A function's code, ready to upload. It equals an earlier package if the code is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) zip: PathBuf,
    /// When it was written, which happens only if the code has changed.
    written: SystemTime,
}

impl Package {
    /// The executable that the zip holds.
    pub(crate) fn executable(&self) -> PathBuf {
        self.zip.with_extension("bootstrap")
    }
}

impl Compiler {
    /// Creates the folder `output` if it is missing.
    pub(crate) fn new(
        project: &Project,
        workspace: &Workspace,
        binaries: BTreeSet<String>,
        profile: Profile,
        output: PathBuf,
    ) -> Result<Self> {
        let mut packages = workspace.packages_of(binaries.iter().map(String::as_str))?;
        // Cargo unifies the features of what is selected together. With the packages of `cargo run` among them,
        // the functions share the dependencies that were compiled for it, instead of compiling them once more.
        packages.extend(workspace.default_packages());
        private::folder(&output)?;
        Ok(Self {
            root: project.root().to_owned(),
            binaries,
            packages,
            profile,
            output,
            lock_file: workspace.lock_file(),
        })
    }

    pub(crate) fn binaries(&self) -> &BTreeSet<String> {
        &self.binaries
    }

    /// Builds and packs all binaries; the packages are by binary.
    pub(crate) async fn build(&self, step: &Step) -> Result<BTreeMap<String, Package>> {
        let executables = self.executables(step).await?;
        let output = self.output.clone();
        step.say("packing");
        tokio::task::spawn_blocking(move || {
            prune(&output, executables.keys())?;
            executables
                .into_iter()
                .map(|(binary, executable)| {
                    let package = pack(&executable, &output.join(format!("{binary}.zip")))
                        .with_context(|| format!("cannot pack {binary}"))?;
                    Ok((binary, package))
                })
                .collect()
        })
        .await?
    }

    /// Builds all binaries, and returns the path of each executable.
    pub(crate) async fn executables(&self, step: &Step) -> Result<BTreeMap<String, PathBuf>> {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&self.root).args([
            "build",
            "--message-format",
            "json-render-diagnostics",
        ]);
        for variable in project::credentials() {
            cargo.env_remove(variable);
        }
        for package in &self.packages {
            cargo.args(["--package", package]);
        }
        for binary in &self.binaries {
            cargo.args(["--bin", binary]);
        }
        if self.profile == Profile::Release {
            cargo.arg("--release");
        }
        // Before the first build there is none.
        if self.lock_file.exists() {
            cargo.arg("--locked");
        }
        let lines = child::run(&mut cargo, "cargo build", |line| {
            if let Some(activity) = activity(line) {
                step.say(activity);
            }
        })
        .await
        .map_err(|error| anyhow::anyhow!(explained(&error.to_string())))?;

        let executables: BTreeMap<String, PathBuf> = lines
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter_map(|message| match message {
                Message::CompilerArtifact(artifact) => {
                    let executable = artifact.executable?.into_std_path_buf();
                    Some((artifact.target.name, executable))
                }
                _ => None,
            })
            .filter(|(binary, _)| self.binaries.contains(binary))
            .collect();
        if let Some(missing) = self
            .binaries
            .iter()
            .find(|binary| !executables.contains_key(*binary))
        {
            bail!("cargo built no executable for `{missing}`");
        }
        Ok(executables)
    }
}

/// Returns what cargo is doing, by a line of its standard error.
fn activity(line: &str) -> Option<String> {
    let line = line.trim_start();
    [
        "Compiling",
        "Downloading",
        "Downloaded",
        "Updating",
        "Blocking",
    ]
    .iter()
    .any(|verb| line.starts_with(verb))
    .then(|| line.to_owned())
}

/// Returns why a build failed.
fn explained(output: &str) -> String {
    if output.contains("because --locked was passed") {
        return "Cargo.lock does not fit the manifests, and other versions are not taken unseen: run `cargo check` once, and look at what it changes there".to_owned();
    }
    without_json(output)
}

/// Keeps the messages for people: cargo's JSON lines and its progress do not say what went wrong.
fn without_json(output: &str) -> String {
    output
        .lines()
        .filter(|line| !line.starts_with('{') && activity(line).is_none())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Removes the packages of functions that no longer exist, and what an interrupted build left. What stays is its
/// owner's alone.
fn prune<'a>(output: &Path, binaries: impl Iterator<Item = &'a String>) -> Result<()> {
    let wanted: BTreeSet<String> = binaries
        .flat_map(|binary| [format!("{binary}.zip"), format!("{binary}.bootstrap")])
        .collect();
    let cannot_read = || format!("cannot read {}", output.display());
    for entry in fs::read_dir(output).with_context(cannot_read)? {
        let path = entry.with_context(cannot_read)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !path.is_file() {
            continue;
        }
        if wanted.contains(&*name) {
            // An earlier version of this command has let others read it.
            let mode = if name.ends_with(".bootstrap") {
                0o700
            } else {
                0o600
            };
            fs::set_permissions(&path, Permissions::from_mode(mode))
                .with_context(|| format!("cannot change who may read {}", path.display()))?;
        } else {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Writes `zip` from `executable`, unless it already holds it.
fn pack(executable: &Path, zip: &Path) -> Result<Package> {
    let package = |written| Package {
        zip: zip.to_owned(),
        written,
    };
    let written = fs::metadata(zip)
        .and_then(|metadata| metadata.modified())
        .ok();
    let linked = fs::metadata(executable)?.modified()?;
    if let Some(written) = written.filter(|written| *written > linked) {
        return Ok(package(written));
    }
    // Cargo links again whenever a dependency of the function changed, often with the same result.
    let stripped = zip.with_extension("new");
    let bootstrap = zip.with_extension("bootstrap");
    strip(executable, &stripped)?;
    fs::set_permissions(&stripped, Permissions::from_mode(0o700))?;
    if let Some(written) = written
        && fs::read(&bootstrap).is_ok_and(|old| fs::read(&stripped).is_ok_and(|new| old == new))
    {
        return Ok(package(written));
    }

    let draft = zip.with_extension("draft");
    let mut archive = zip::ZipWriter::new(private::create(&draft)?);
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .unix_permissions(0o755);
    archive.start_file("bootstrap", options)?;
    io::copy(&mut File::open(&stripped)?, &mut archive)?;
    archive.finish()?.flush()?;
    // The zip is replaced first: if the command stops in between, the zip is newer than the
    // executable, which is correct.
    fs::rename(&draft, zip)?;
    fs::rename(&stripped, &bootstrap)?;
    Ok(package(fs::metadata(zip)?.modified()?))
}

/// Copies an executable without its debug information, which is most of it and is not read on
/// Lambda.
///
/// Without `strip` the copy is complete: it is larger, but runs as well.
fn strip(executable: &Path, to: &Path) -> io::Result<()> {
    let stripped = StdCommand::new("strip")
        .arg("--strip-debug")
        .arg("-o")
        .args([to, executable])
        .output()
        .is_ok_and(|output| output.status.success());
    if !stripped {
        fs::copy(executable, to)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_package_holds_an_executable_bootstrap() {
        let folder = tempfile::tempdir().unwrap();
        let executable = folder.path().join("audit");
        fs::write(&executable, "#!/bin/sh\n").unwrap();
        let zip = folder.path().join("audit.zip");

        let package = pack(&executable, &zip).unwrap();

        let mut archive = zip::ZipArchive::new(File::open(&package.zip).unwrap()).unwrap();
        assert_eq!(archive.len(), 1);
        let mut entry = archive.by_name("bootstrap").unwrap();
        assert_eq!(entry.unix_mode().unwrap() & 0o777, 0o755);
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        assert_eq!(text, "#!/bin/sh\n");
    }

    #[test]
    fn a_package_changes_with_its_code_only() {
        let folder = tempfile::tempdir().unwrap();
        let executable = folder.path().join("audit");
        let zip = folder.path().join("audit.zip");
        fs::write(&executable, "one").unwrap();
        let first = pack(&executable, &zip).unwrap();
        // Linked again, with the same result.
        fs::write(&executable, "one").unwrap();
        assert_eq!(pack(&executable, &zip).unwrap(), first);
        fs::write(&executable, "two").unwrap();
        assert_ne!(pack(&executable, &zip).unwrap(), first);
    }

    #[test]
    fn packages_of_former_functions_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["audit.zip", "audit.bootstrap", "old.zip", "audit.new"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        prune(folder.path(), ["audit".to_owned()].iter()).unwrap();
        let left = fs::read_dir(folder.path()).unwrap();
        let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["audit.bootstrap", "audit.zip"]);
        let kept = fs::metadata(folder.path().join("audit.zip")).unwrap();
        assert_eq!(kept.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_lock_file_that_does_not_fit_says_what_to_do() {
        let output = "error: cannot update the lock file /a/Cargo.lock because --locked was passed to prevent this";
        assert!(explained(output).contains("run `cargo check` once"));
    }

    #[test]
    fn a_failed_build_shows_the_compilers_messages() {
        let output = "   Compiling shop v0.1.0\n{\"reason\":\"x\"}\nerror[E0425]: no such value";
        assert_eq!(without_json(output), "error[E0425]: no such value");
    }
}
