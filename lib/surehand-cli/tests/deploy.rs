//! `surehand deploy` with tools that write down how they are called: what they are told, and what they see.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::json;
use tempfile::TempDir;

const TEMPLATE: &str = "
Transform: AWS::Serverless-2016-10-31
Parameters:
  LogLevel: {Type: String, Default: INFO}
  Token: {Type: String, NoEcho: true, Default: none}
Resources:
  Worker:
    Type: AWS::Serverless::Function
    Metadata: {BuildMethod: rust-cargolambda, BuildProperties: {Binary: worker}}
    Properties:
      AutoPublishAlias: live
      CodeUri: handlers
      Handler: bootstrap
      Runtime: provided.al2023
";

/// Writes its name, its arguments and its environment into the folder of calls.
const RECORD: &str = r#"#!/bin/sh
name=$(basename "$0")
calls=$(dirname "$0")/../calls
number=$(ls "$calls" | wc -l)
{ echo "$name"; for argument in "$@"; do echo "argument $argument"; done; env | sed 's/^/variable /'; } > "$calls/$number"
"#;

/// An application, and the tools in its folder's state.
struct World {
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = Self { folder };
        let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("requirements");
        world.write("template.yaml", TEMPLATE);
        world.write("handlers/src/main.rs", "fn main() {}");
        world.write(".surehand/venv/calls/.keep", "");
        for group in ["local.txt", "build.txt"] {
            let locked = fs::read_to_string(requirements.join(group)).unwrap();
            world.write(&format!(".surehand/venv/{group}"), &locked);
        }
        let built = world.path(".aws-sam/build");
        let (built, root) = (built.display(), world.path("").display().to_string());
        let answer = json!({
            "stack": "shop", "region": "eu-west-1", "template": world.path("template.yaml"),
            "given": {"LogLevel": "DEBUG", "Token": "s3cr3t"}, "previous": {}, "attempt": "",
        });
        world.tool("python", &format!("cat > \"$2\" <<'END'\n{answer}\nEND"));
        world.tool("cargo-lambda", "");
        // As `sam build` does, it begins with an empty folder.
        let build = format!(
            "[ $1 = build ] || exit 0\nrm -rf {built}; mkdir -p {built}/Worker; echo x > {built}/Worker/bootstrap\n\
             sed 's/CodeUri: handlers/CodeUri: Worker/' {root}/template.yaml > {built}/template.yaml"
        );
        world.tool("sam", &build);
        world
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn tool(&self, name: &str, script: &str) {
        let file = format!(".surehand/venv/bin/{name}");
        self.write(&file, &format!("{RECORD}{script}\n"));
        fs::set_permissions(self.path(&file), Permissions::from_mode(0o700)).unwrap();
    }

    fn deploy(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_surehand"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command
            .arg("deploy")
            .args(arguments)
            .current_dir(self.folder.path())
            .env("AWS_PROFILE", "operator")
            .env("AWS_ACCESS_KEY_ID", "id")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_SESSION_TOKEN", "token")
            .env("AWS_WEB_IDENTITY_TOKEN_FILE", "/token");
        command.output().unwrap()
    }

    /// Each call of a tool, in their order, and none of them any more.
    fn calls(&self) -> Vec<Call> {
        let folder = self.path(".surehand/venv/calls");
        let mut files: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .filter_map(|it| {
                it.unwrap()
                    .file_name()
                    .to_string_lossy()
                    .parse::<usize>()
                    .ok()
            })
            .collect();
        files.sort_unstable();
        let calls = files.into_iter().map(|number| {
            let file = folder.join(number.to_string());
            let text = fs::read_to_string(&file).unwrap();
            fs::remove_file(file).unwrap();
            Call(text)
        });
        calls.collect()
    }
}

struct Call(String);

impl Call {
    fn name(&self) -> &str {
        self.0.lines().next().unwrap()
    }

    fn arguments(&self) -> Vec<&str> {
        let lines = self.0.lines();
        lines
            .filter_map(|it| it.strip_prefix("argument "))
            .collect()
    }

    /// The names of the variables of AWS that it sees.
    fn aws(&self) -> Vec<&str> {
        let lines = self.0.lines();
        let variables = lines.filter_map(|it| it.strip_prefix("variable "));
        let names = variables.filter_map(|it| Some(it.split_once('=')?.0));
        let mut names: Vec<_> = names.filter(|name| name.starts_with("AWS_")).collect();
        names.sort_unstable();
        names
    }
}

fn names(calls: &[Call]) -> Vec<&str> {
    calls.iter().map(Call::name).collect()
}

#[test]
fn what_is_built_with_the_deployments_parameters_is_deployed_and_nothing_else() {
    let world = World::new();
    let given = [
        "--config-env",
        "prod",
        "--parameter-overrides",
        "LogLevel=DEBUG",
    ];
    let output = world.deploy(&given);
    assert!(output.status.success(), "{output:?}");
    let calls = world.calls();
    assert_eq!(names(&calls), ["python", "cargo-lambda", "sam", "sam"]);
    let (source, built) = (
        world.path("template.yaml").display().to_string(),
        world
            .path(".aws-sam/build/template.yaml")
            .display()
            .to_string(),
    );
    assert_eq!(
        calls[1].arguments(),
        ["lambda", "build", "--release", "--bin", "worker"]
    );
    assert_eq!(
        calls[2].arguments(),
        [
            "build",
            "--build-dir",
            ".aws-sam/build",
            "--template-file",
            &source,
            "--config-env",
            "prod",
            "--parameter-overrides",
            "ParameterKey=LogLevel,ParameterValue=\"DEBUG\"",
        ]
    );
    // The last template is the one that the SAM CLI takes.
    let mut deploy = vec!["deploy"];
    deploy.extend(given);
    deploy.extend(["--template-file", &built]);
    assert_eq!(calls[3].arguments(), deploy);
    let stamped = fs::read_to_string(&built).unwrap();
    assert!(stamped.contains("AutoPublishCodeSha256: "), "{stamped}");
    // A hidden value is in no argument.
    for call in &calls {
        assert!(
            !call.arguments().concat().contains("s3cr3t"),
            "{}",
            call.name()
        );
    }
}

/// Code of dependencies runs in a build.
#[test]
fn a_build_sees_no_credentials() {
    let world = World::new();
    assert!(world.deploy(&[]).status.success());
    let calls = world.calls();
    let all = [
        "AWS_ACCESS_KEY_ID",
        "AWS_PROFILE",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
    ];
    assert_eq!(names(&calls), ["python", "cargo-lambda", "sam", "sam"]);
    for (call, sees) in calls.iter().zip([&all[..], &[], &[], &all]) {
        assert_eq!(call.aws(), sees, "{} {:?}", call.name(), call.arguments());
    }
}

/// A checkout, an editor or a copy can give a changed template an old time, and an unchanged one a new one.
#[test]
fn what_is_built_is_stale_by_its_content_and_not_by_its_time() {
    let world = World::new();
    assert!(world.deploy(&["--no-deploy"]).status.success());
    let built = world.path(".aws-sam/build/template.yaml");
    let before =
        fs::metadata(&built).unwrap().modified().unwrap() - std::time::Duration::from_secs(3_600);
    let age = |time| {
        let file = fs::File::options()
            .append(true)
            .open(world.path("template.yaml"));
        file.unwrap().set_modified(time).unwrap();
    };
    world.calls();

    // Only touched.
    age(before + std::time::Duration::from_secs(7_200));
    let output = world.deploy(&["--no-build"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(names(&world.calls()), ["python", "sam"]);

    world.write("template.yaml", &TEMPLATE.replace("INFO", "WARN"));
    age(before);
    let output = world.deploy(&["--no-build"]);
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains(
            "was built from other templates than those that are here: leave --no-build out"
        ),
        "{said}"
    );
    assert_eq!(names(&world.calls()), ["python"]);
}
