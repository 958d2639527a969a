//! The functions, built as they are deployed, in the release profile.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A name, and the arguments that select the build.
type Build = (&'static str, &'static [&'static str]);

/// The build without the AWS SDK, unless it is needed, and without `otel`.
pub(crate) const PLAIN: Build = ("plain", &["--no-default-features"]);
pub(crate) const OTEL: Build = ("otel", &["--no-default-features", "--features=otel"]);

pub(crate) fn example(name: &str, build: Build) -> PathBuf {
    made("surehand", &format!("--example={name}"), name, build)
}

pub(crate) fn shop(name: &str, build: Build) -> PathBuf {
    made("shop", &format!("--bin={name}"), name, build)
}

/// Two builds share a path in cargo's folder, so each is copied to its own.
fn made(package: &str, target: &str, name: &str, (build, features): Build) -> PathBuf {
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--package", package, target])
        .args(features)
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "{name} does not compile");
    let output = String::from_utf8(output.stdout).unwrap();
    let binary = output.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).unwrap();
        Some(PathBuf::from(message["executable"].as_str()?))
    });
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(build);
    fs::create_dir_all(&folder).unwrap();
    let copy = folder.join(name);
    fs::copy(binary.unwrap(), &copy).unwrap();
    copy
}
