//! `surehand new`: an application to begin with, which passes its tests and `surehand check`, and deploys, as it is.

mod name;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::terminal::say;

#[derive(Debug, Args)]
pub(crate) struct New {
    /// The folder to create; its last part becomes the application's name
    path: PathBuf,
    /// The application's name, if it differs from the folder's
    #[arg(long)]
    name: Option<String>,
    /// Add the function that redrives dead letters, with its queue, its role and a schedule
    #[arg(long)]
    with_redrive: bool,
    /// The folder of the library, lib/surehand in a checkout; by default that of the checkout from which this command was built
    #[arg(long, value_name = "FOLDER", conflicts_with = "surehand_git")]
    surehand_path: Option<PathBuf>,
    /// The git repository of the library, for an application that others build too
    #[arg(long, value_name = "URL")]
    surehand_git: Option<String>,
    /// Make no git repository
    #[arg(long)]
    no_git: bool,
    /// No run is meant, so that the help does not offer to name one.
    #[arg(long = "run", id = "run", hide = true)]
    _run: Option<String>,
}

/// Makes the application, and prints the next steps.
pub(crate) fn run(new: &New) -> Result<()> {
    let folder = &new.path;
    let name = match &new.name {
        Some(name) => name.clone(),
        None => name_of(folder)?,
    };
    name::check(&name).with_context(|| format!("`{name}` cannot be an application's name"))?;
    must_be_free(folder)?;
    let library = Library::of(new)?;
    let surehand = library.dependency("surehand")?;
    let redrive = match new.with_redrive {
        true => Some(library.dependency("surehand-redrive")?),
        false => None,
    };
    for (path, text) in filled_in(&name, &surehand, redrive.as_deref()) {
        write(&folder.join(path), &text)?;
    }
    if !new.no_git {
        make_repository(folder);
    }
    say!("{}", next_steps(&name, folder, &library));
    Ok(())
}

/// The files of the application with their contents.
macro_rules! files {
    ($($path:literal = $from:literal;)*) => {
        &[$(($path, include_str!($from))),*]
    };
}

/// `{{name}}`, `{{surehand}}` and `{{surehand-redrive}}` are filled in; what is between `{{with redrive}}` and `{{end}}`
/// is for applications that have the function redrive. A manifest's name ends in `.txt` here, so that cargo does not take
/// the folder for a package of this repository.
const FILES: &[(&str, &str)] = files! {
    "Cargo.toml" = "../../templates/app/Cargo.toml.txt";
    ".gitignore" = "../../templates/app/gitignore.txt";
    "README.md" = "../../templates/app/README.md";
    "events.jsonl" = "../../templates/app/events.jsonl";
    "samconfig.toml" = "../../templates/app/samconfig.toml.txt";
    "template.yaml" = "../../templates/app/template.yaml";
    "handlers/Cargo.toml" = "../../templates/app/handlers/Cargo.toml.txt";
    "handlers/src/lib.rs" = "../../templates/app/handlers/src/lib.rs";
    "handlers/src/events.rs" = "../../templates/app/handlers/src/events.rs";
    "handlers/src/welcome_user.rs" = "../../templates/app/handlers/src/welcome_user.rs";
    "handlers/src/bin/welcome-user.rs" = "../../templates/app/handlers/src/bin/welcome-user.rs";
    "handlers/tests/welcome_user.rs" = "../../templates/app/handlers/tests/welcome_user.rs";
};

/// The files of an application with the function redrive.
const REDRIVE: &[(&str, &str)] = files! {
    "handlers/src/bin/redrive.rs" = "../../templates/app/handlers/src/bin/redrive.rs";
};

/// The files that every application has unchanged. In this repository they are links to the files
/// that it uses itself; a package of this command holds their text.
const SHARED: &[(&str, &str)] = files! {
    "rust-toolchain.toml" = "../../templates/shared/rust-toolchain.toml";
    ".cargo/config.toml" = "../../templates/shared/cargo-config.toml";
    "infra/dead-letter-queue.yaml" = "../../templates/shared/infra/dead-letter-queue.yaml";
    "infra/function-watch.yaml" = "../../templates/shared/infra/function-watch.yaml";
    "infra/rule-watch.yaml" = "../../templates/shared/infra/rule-watch.yaml";
    "infra/reliable-queue.yaml" = "../../templates/shared/infra/reliable-queue.yaml";
};

/// Every file of the application with its text.
fn filled_in<'a>(
    name: &'a str,
    surehand: &'a str,
    redrive: Option<&'a str>,
) -> impl Iterator<Item = (&'static str, String)> + 'a {
    let own = FILES.iter().map(move |(path, text)| {
        let text = parts(text, redrive.is_some())
            .replace("{{name}}", name)
            .replace("{{surehand}}", surehand)
            .replace("{{surehand-redrive}}", redrive.unwrap_or_default());
        (*path, text)
    });
    let optional = REDRIVE.iter().filter(move |_| redrive.is_some());
    let as_they_are = optional.chain(SHARED);
    own.chain(as_they_are.map(|(path, text)| (*path, (*text).to_owned())))
}

/// Removes the lines that mark the parts for redrive, and these parts if they are not wanted.
fn parts(text: &str, with_redrive: bool) -> String {
    let mut is_wanted = true;
    let lines = text.split_inclusive('\n').filter(|line| {
        let begins = line.contains("{{with redrive}}");
        let ends = line.contains("{{end}}");
        if begins || ends {
            is_wanted = ends || with_redrive;
        }
        is_wanted && !begins && !ends
    });
    lines.collect()
}

/// The last part of a path, also of one such as `.`.
fn name_of(folder: &Path) -> Result<String> {
    let name = match folder.file_name() {
        Some(name) => name.to_owned(),
        None => {
            let folder = (folder.canonicalize())
                .with_context(|| format!("cannot find {}", folder.display()))?;
            (folder.file_name().map(ToOwned::to_owned))
                .with_context(|| format!("{} has no name: pass --name", folder.display()))?
        }
    };
    let name = name.into_string();
    name.map_err(|name| anyhow::anyhow!("the folder's name {name:?} is not UTF-8: pass --name"))
}

/// Checks that no file would be overwritten. A repository that has just been created may be there.
fn must_be_free(folder: &Path) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            bail!("{} already exists, and is not a folder", folder.display())
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", folder.display()));
        }
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
        if entry.file_name() != ".git" {
            bail!(
                "{} is not empty: it contains {}",
                folder.display(),
                entry.file_name().display()
            );
        }
    }
    Ok(())
}

/// Whether the library of this command's version is in the registry. A test compares it with the
/// manifest's `publish`.
const PUBLISHED: bool = false;

/// Where the application gets the library from.
enum Library {
    /// Canonical.
    Path(PathBuf),
    Git(String),
    /// The version of this command, from the registry.
    Published,
}

impl Library {
    fn of(new: &New) -> Result<Self> {
        if let Some(url) = &new.surehand_git {
            if !url.contains("://") {
                bail!(
                    "--surehand-git is `{url}`, which cargo does not take for a URL: write it as https://… or ssh://…"
                );
            }
            return Ok(Self::Git(url.clone()));
        }
        let folder = match &new.surehand_path {
            Some(given) if !is_library(given) => bail!(
                "{} is not the folder of the library: it has no Cargo.toml of a package `surehand`",
                given.display()
            ),
            Some(given) => given.clone(),
            None => {
                let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../surehand");
                if !is_library(&built_from) {
                    if PUBLISHED {
                        return Ok(Self::Published);
                    }
                    bail!(
                        "the library is no longer where this command was built: pass --surehand-path or --surehand-git"
                    );
                }
                built_from
            }
        };
        let canonical = folder.canonicalize();
        Ok(Self::Path(canonical.with_context(|| {
            format!("cannot find {}", folder.display())
        })?))
    }

    /// The dependency on one of its packages as a manifest has it. Their folders are side by side.
    fn dependency(&self, package: &str) -> Result<String> {
        let (kind, place) = match self {
            Self::Path(folder) => {
                let folder = match package {
                    "surehand" => folder.clone(),
                    other => folder.with_file_name(other),
                };
                if !folder.join("Cargo.toml").is_file() {
                    bail!(
                        "{package} is not in {}: pass the --surehand-path of a whole checkout",
                        folder.display()
                    );
                }
                let text = folder.to_str();
                let text = text.with_context(|| {
                    format!(
                        "the path {} is not UTF-8, so it cannot be in Cargo.toml: pass another --surehand-path",
                        folder.display()
                    )
                });
                ("path", text?.to_owned())
            }
            Self::Git(url) => ("git", url.clone()),
            Self::Published => return Ok(version_requirement()),
        };
        // A string of JSON is one of TOML.
        let place = serde_json::to_string(&place)?;
        Ok(format!("{{ {kind} = {place} }}"))
    }
}

/// A string of TOML that takes every release which is compatible with this command's, such as `"0.1"`.
fn version_requirement() -> String {
    let (major, minor) = (
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR"),
    );
    match major {
        "0" => format!("\"0.{minor}\""),
        _ => format!("\"{major}\""),
    }
}

fn is_library(folder: &Path) -> bool {
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    let manifest: toml::Table = toml::from_str(&manifest).unwrap_or_default();
    let name = manifest.get("package").and_then(|it| it.get("name"));
    name.and_then(toml::Value::as_str) == Some("surehand")
}

fn write(path: &Path, text: &str) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)
        .and_then(|()| fs::write(path, text))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Makes a git repository, unless the folder is in one. Without git there is none, and that is no failure.
fn make_repository(folder: &Path) {
    let git = |arguments: &[&str]| {
        let mut git = std::process::Command::new("git");
        git.current_dir(folder).args(arguments);
        // A hook's variables are about another repository.
        git.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
        git.output().is_ok_and(|output| output.status.success())
    };
    if !git(&["rev-parse", "--is-inside-work-tree"]) {
        git(&["init", "--quiet"]);
    }
}

/// A path as a shell takes it.
fn quoted(path: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+~".contains(c);
    match path.chars().all(is_plain) {
        true => path.to_owned(),
        false => format!("'{}'", path.replace('\'', "'\\''")),
    }
}

fn next_steps(name: &str, folder: &Path, library: &Library) -> String {
    let mut text = format!("made {name}\n\n");
    if folder != Path::new(".") {
        text.push_str(&format!(
            "    cd {}\n",
            quoted(&folder.display().to_string())
        ));
    }
    text.push_str(
        "    cargo test                       # the handler, without AWS
    surehand check                   # the template, and what the function does
    surehand dev                     # all of it on this machine
    surehand publish events.jsonl    # from a second shell",
    );
    if let Library::Path(folder) = library {
        text.push_str(&format!(
            "\n\nIt uses the library in {}. So that others can build it, name a git repository in Cargo.toml instead.",
            folder.display()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(path: &Path, surehand_path: Option<&Path>, surehand_git: Option<&str>) -> New {
        New {
            path: path.to_owned(),
            name: None,
            with_redrive: false,
            surehand_path: surehand_path.map(ToOwned::to_owned),
            surehand_git: surehand_git.map(ToOwned::to_owned),
            no_git: true,
            _run: None,
        }
    }

    #[test]
    fn a_folder_outside_of_any_repository_becomes_one() {
        let folder = tempfile::tempdir().unwrap();
        make_repository(folder.path());
        assert!(folder.path().join(".git").is_dir());
        let inside = folder.path().join("inside");
        fs::create_dir(&inside).unwrap();
        make_repository(&inside);
        assert!(!inside.join(".git").exists());
    }

    #[test]
    fn everything_is_filled_in() {
        for redrive in [None, Some("{ path = \"/surehand-redrive\" }")] {
            for (path, text) in filled_in("hello", "{ path = \"/surehand\" }", redrive) {
                assert!(!text.contains("{{"), "{path}");
                let has_redrive =
                    text.contains("RedriveQueue") || text.contains("surehand-redrive");
                assert!(redrive.is_some() || !has_redrive, "{path}");
            }
        }
    }

    #[test]
    fn the_parts_for_redrive_are_there_on_request() {
        let text = "a\n# {{with redrive}}\nb\n# {{end}}\nc\n";
        assert_eq!(parts(text, false), "a\nc\n");
        assert_eq!(parts(text, true), "a\nb\nc\n");
    }

    #[test]
    fn the_library_is_the_given_one_or_that_of_the_commands_checkout() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = root.canonicalize().unwrap();
        let folder = Path::new("hello");
        let dependency = |new: New| Library::of(&new).and_then(|it| it.dependency("surehand"));
        let by_default = dependency(new(folder, None, None)).unwrap();
        assert_eq!(
            by_default,
            format!("{{ path = \"{}\" }}", root.join("lib/surehand").display())
        );
        let given = root.join("lib/../lib/surehand");
        assert_eq!(
            dependency(new(folder, Some(&given), None)).unwrap(),
            by_default
        );
        let other = root.join("lib/surehand-cli");
        let error = dependency(new(folder, Some(&other), None)).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("{} is not the folder", other.display()))
        );
        assert_eq!(
            dependency(new(folder, None, Some("https://example.com/s.git"))).unwrap(),
            "{ git = \"https://example.com/s.git\" }"
        );
        let error = dependency(new(folder, None, Some("git@example.com:s.git"))).unwrap_err();
        assert!(error.to_string().contains("write it as https://"));
    }

    #[test]
    fn the_library_for_redrives_is_beside_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let alone = folder.path().join("surehand");
        write(
            &alone.join("Cargo.toml"),
            "[package]\nname = \"surehand\"\n",
        )
        .unwrap();
        let library = Library::of(&new(Path::new("hello"), Some(&alone), None)).unwrap();
        assert!(library.dependency("surehand").is_ok());
        let error = library.dependency("surehand-redrive").unwrap_err();
        assert!(
            error.to_string().ends_with("of a whole checkout"),
            "{error}"
        );
    }

    #[test]
    fn the_next_steps_can_be_pasted() {
        for (path, shown) in [
            ("apps/hello-2", "apps/hello-2"),
            ("my apps/hello", "'my apps/hello'"),
            ("ada's/hello", r"'ada'\''s/hello'"),
        ] {
            let library = Library::Git("https://example.com/s.git".to_owned());
            let steps = next_steps("hello", Path::new(path), &library);
            assert!(steps.contains(&format!("    cd {shown}\n")), "{steps}");
        }
    }

    #[test]
    fn a_version_is_required_only_once_it_is_published() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
        let manifest: toml::Table = fs::read_to_string(manifest).unwrap().parse().unwrap();
        let publish = manifest["workspace"]["package"].get("publish");
        let publish = publish.and_then(toml::Value::as_bool);
        assert_eq!(publish.unwrap_or(true), PUBLISHED);
        assert_eq!(
            Library::Published.dependency("surehand").unwrap(),
            "\"0.1\""
        );
    }

    #[test]
    fn existing_files_are_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        must_be_free(path).unwrap();
        must_be_free(&path.join("missing/below")).unwrap();
        fs::create_dir(path.join(".git")).unwrap();
        must_be_free(path).unwrap();
        fs::write(path.join("notes"), "mine").unwrap();
        let error = must_be_free(path).unwrap_err().to_string();
        assert!(
            error.ends_with("is not empty: it contains notes"),
            "{error}"
        );
        let error = must_be_free(&path.join("notes")).unwrap_err().to_string();
        assert!(
            error.ends_with("already exists, and is not a folder"),
            "{error}"
        );
    }

    #[test]
    fn the_name_is_the_last_part() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("hello");
        fs::create_dir(&below).unwrap();
        assert_eq!(name_of(Path::new("apps/hello/")).unwrap(), "hello");
        assert_eq!(name_of(&below.join("../hello/..")).unwrap(), {
            let above = folder.path().canonicalize().unwrap();
            above.file_name().unwrap().to_str().unwrap().to_owned()
        });
        assert!(name_of(&below.join("missing/..")).is_err());
    }
}
