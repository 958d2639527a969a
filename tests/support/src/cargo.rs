//! The workspace as cargo has it, and its tools.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// Cargo, in the workspace's folder. What it is compiling is seen on standard error.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace());
    cargo
}

/// The workspace's folder.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
}

/// Returns the folder for the tests' files, in `target`.
pub fn scratch() -> PathBuf {
    let test = env::current_exe().unwrap();
    // It is in `target/debug/deps`.
    let folder = test.ancestors().nth(3).unwrap().join("tmp");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The name of the test target that runs.
pub fn target() -> String {
    let test = env::current_exe().unwrap();
    let name = test.file_stem().unwrap().to_string_lossy();
    // Cargo adds a hash.
    name.rsplit_once('-')
        .map_or(&*name, |(name, _)| name)
        .to_owned()
}

/// The virtual environment, which the first call installs.
pub fn tools() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let mut tools = cargo();
        tools.args(["run", "--locked", "-q", "--", "tools", "--tests"]);
        output_of(&mut tools).trim().into()
    })
}

/// What a command prints.
pub fn output_of(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
