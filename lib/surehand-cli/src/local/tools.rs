//! The command's own virtual environment: the SAM CLI and the emulator, in the versions it was tested with.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::{application::project::Project, child, private, progress::Progress};

/// Tools that are installed together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group {
    name: &'static str,
    /// What is wanted, for people.
    wanted: &'static str,
    /// What that comes to, with the hash of every file. `requirements/update.sh` writes it.
    locked: &'static str,
    /// Whether all of it comes as wheels, so that no code of it runs to install it.
    has_wheels: bool,
}

/// What `dev` and `demo` need.
pub(crate) const LOCAL: Group = Group {
    name: "local",
    wanted: include_str!("../../requirements/local.in"),
    locked: include_str!("../../requirements/local.txt"),
    has_wheels: true,
};

/// What `sam build` needs on top.
pub(crate) const BUILD: Group = Group {
    name: "build",
    wanted: include_str!("../../requirements/build.in"),
    locked: include_str!("../../requirements/build.txt"),
    has_wheels: true,
};

/// The linters of templates. They need other releases of the SAM CLI's dependencies, so they have
/// an environment of their own.
const LINTERS: Group = Group {
    name: "linters",
    wanted: include_str!("../../requirements/linters.in"),
    locked: include_str!("../../requirements/linters.txt"),
    has_wheels: true,
};

/// The folders of the environments, in the project's state.
pub(crate) const FOLDERS: [&str; 3] = ["venv", "venv-linters", "venv-sqs"];

/// An SQS that moves messages as AWS does, for tests. It has an environment of its own, because it
/// pins older releases than the other tools.
const SQS: Group = Group {
    name: "sqs",
    wanted: include_str!("../../requirements/sqs.in"),
    locked: include_str!("../../requirements/sqs.txt"),
    has_wheels: false,
};

/// What the tests of this repository compare with.
pub(crate) const TESTS: Group = Group {
    name: "tests",
    wanted: include_str!("../../requirements/tests.in"),
    locked: include_str!("../../requirements/tests.txt"),
    has_wheels: true,
};

impl Group {
    /// The requirements as `name version`, for messages.
    fn summary(self) -> String {
        self.wanted
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .map(|line| line.replace("==", " "))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// A virtual environment whose tools are ready.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Makes the environment on first use; returns immediately if it exists.
    pub(crate) async fn prepare(
        project: &Project,
        groups: &[Group],
        progress: &Progress,
    ) -> Result<Self> {
        Self::install(project, FOLDERS[0], groups, progress).await
    }

    /// The same for the linters.
    pub(crate) async fn prepare_linters(project: &Project, progress: &Progress) -> Result<Self> {
        Self::install(project, FOLDERS[1], &[LINTERS], progress).await
    }

    /// The same for the SQS of tests.
    pub(crate) async fn prepare_sqs(project: &Project, progress: &Progress) -> Result<Self> {
        Self::install(project, FOLDERS[2], &[SQS], progress).await
    }

    async fn install(
        project: &Project,
        folder: &str,
        groups: &[Group],
        progress: &Progress,
    ) -> Result<Self> {
        let state = project.state()?;
        let tools = Self {
            folder: state.join(folder),
        };
        if groups.iter().all(|group| tools.has(*group)) {
            return Ok(tools);
        }
        let step = progress.step("installing the tools");
        let lock = state.join(format!("{folder}.lock"));
        // The lock is held until the end of this function, so that two commands do not install at
        // the same time.
        let _lock = tokio::task::spawn_blocking(move || exclusive(&lock)).await??;
        if !tools.starts().await {
            tools.create().await?;
        }
        let missing: Vec<Group> = groups
            .iter()
            .copied()
            .filter(|group| !tools.has(*group))
            .collect();
        for group in &missing {
            step.say(group.summary());
            let file = tools.folder.join(format!("{}.draft", group.name));
            let cannot_write = || format!("cannot write {}", file.display());
            private::write(&file, group.locked)?;
            let mut pip = Command::new(tools.bin("python"));
            pip.args([
                "-m",
                "pip",
                "install",
                "--no-input",
                "--progress-bar",
                "off",
            ])
            // Only files that are listed with their hashes.
            .args(["--require-hashes", "--no-deps"]);
            if group.has_wheels {
                pip.args(["--only-binary", ":all:"]);
            }
            pip.args(["--disable-pip-version-check", "-r"]).arg(&file);
            child::run(&mut pip, "pip install", |line| {
                if let Some(activity) = activity(line) {
                    step.say(activity);
                }
            })
            .await?;
            // Only now are the tools marked as installed.
            fs::rename(&file, tools.stamp(*group)).with_context(cannot_write)?;
        }
        let installed: Vec<String> = missing.iter().map(|group| group.summary()).collect();
        step.done(installed.join(", "));
        Ok(tools)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of a program of the environment.
    pub(crate) fn bin(&self, program: &str) -> PathBuf {
        self.folder.join("bin").join(program)
    }

    /// Returns the file that lists what is installed, which is written after the installation.
    fn stamp(&self, group: Group) -> PathBuf {
        self.folder.join(format!("{}.txt", group.name))
    }

    fn has(&self, group: Group) -> bool {
        fs::read_to_string(self.stamp(group)).is_ok_and(|stamp| stamp == group.locked)
            && self.bin("python").exists()
    }

    /// Whether the environment's Python still starts; it does not when the system's Python was replaced.
    async fn starts(&self) -> bool {
        let mut python = Command::new(self.bin("python"));
        python.args(["-m", "pip", "--version"]);
        child::run(&mut python, "python", |_| ()).await.is_ok()
    }

    async fn create(&self) -> Result<()> {
        let python = python().await?;
        let mut venv = Command::new(python);
        venv.args(["-m", "venv", "--clear"]).arg(&self.folder);
        if let Err(error) = child::run(&mut venv, "python3 -m venv", |_| ()).await {
            // Debian and Ubuntu ship Python without it, and explain that in ten lines.
            if error.to_string().contains("ensurepip") {
                bail!("python3 has no venv module: install the package python3-venv");
            }
            return Err(error);
        }
        Ok(())
    }
}

/// Returns what pip is doing, by a line of its output, without the place and the reason.
fn activity(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let verb = words.next()?;
    let known = ["Collecting", "Downloading", "Building", "Installing"].contains(&verb);
    known.then(|| format!("{verb} {}", words.next().unwrap_or_default()))
}

/// The first Python that is new enough for the tools.
async fn python() -> Result<&'static str> {
    let mut found = None;
    for program in ["python3", "python"] {
        let mut python = Command::new(program);
        python.args(["-c", "import sys; print(*sys.version_info[:2], sep='.')"]);
        let Ok(lines) = child::run(&mut python, program, |_| ()).await else {
            continue;
        };
        let version = lines.into_iter().next().unwrap_or_default();
        if is_supported(&version) {
            return Ok(program);
        }
        found = Some(version);
    }
    match found {
        Some(version) => bail!("python3 is version {version}: the SAM CLI needs 3.10 or later"),
        None => bail!("python3 is not on the PATH: install Python 3.10 or later"),
    }
}

fn is_supported(version: &str) -> bool {
    let mut parts = version.split('.').map(str::parse::<u32>);
    matches!((parts.next(), parts.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (3, 10))
}

/// Waits for the lock file; the lock ends with the file handle, thus also with the process.
fn exclusive(path: &Path) -> Result<File> {
    let file = private::create(path)?;
    file.lock()
        .with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_requirement_is_pinned_and_every_file_has_a_hash() {
        for group in [LOCAL, BUILD, LINTERS, SQS, TESTS] {
            for line in group.wanted.lines() {
                assert!(line.starts_with('#') || line.contains("=="), "{line}");
                let is_locked = group.locked.lines().any(|locked| {
                    let name = |text: &str| text.to_lowercase().replace(['_', '.'], "-");
                    // Of the extras, what they bring is listed.
                    let line = match (line.find('['), line.find(']')) {
                        (Some(from), Some(to)) => format!("{}{}", &line[..from], &line[to + 1..]),
                        _ => line.to_owned(),
                    };
                    name(locked).starts_with(&name(&line))
                });
                assert!(line.starts_with('#') || is_locked, "{line}: run update.sh");
            }
            // A requirement goes on over lines that end with a backslash.
            for requirement in group.locked.replace("\\\n", " ").lines() {
                let is_whole = requirement.contains("==") && requirement.contains("--hash=sha256:");
                assert!(is_whole, "{}: {requirement}", group.name);
            }
        }
    }

    #[test]
    fn pips_activity_is_short() {
        let line = "Collecting boto3[crt]==1.43.102 (from aws-sam-cli==1.167.0->-r x.txt (line 2))";
        assert_eq!(activity(line).unwrap(), "Collecting boto3[crt]==1.43.102");
        assert_eq!(activity("Successfully installed a b c"), None);
    }

    #[test]
    fn python_versions_are_compared_as_numbers() {
        assert!(is_supported("3.10"));
        assert!(is_supported("3.13"));
        assert!(!is_supported("3.9"));
        assert!(!is_supported("2.7"));
        assert!(!is_supported("nonsense"));
    }
}
