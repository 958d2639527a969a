//! `surehand deploy`: `sam build` and `sam deploy`, with a hash in the built template that moves each function's alias
//! whenever its code, its settings or a parameter that they come from has changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use crate::terminal::say;
use crate::{
    application::{
        evaluate::{self, parameter::is_hidden},
        project::{self, Project},
        resource::Whereabouts,
        revision::{self, Revision},
        templates::{Templates, located},
        yaml::Node,
    },
    local::tools::{BUILD, LOCAL, Tools},
    progress::Progress,
};

/// Build the application and deploy it to AWS, so that aliases move when parameters have changed as well
///
/// Everything after the options here is passed on to `sam deploy`, which reads samconfig.toml as always:
/// `surehand deploy --config-env prod --parameter-overrides LogLevel=DEBUG`.
#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// Deploy what `sam build` has built before
    #[arg(long)]
    no_build: bool,
    /// Only write the hashes into the built template, and print them
    #[arg(long)]
    no_deploy: bool,
    /// Make the change set with those of nested stacks, show all changes, and execute none
    #[arg(long, conflicts_with = "no_deploy")]
    review: bool,
    /// Arguments of `sam deploy`
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENTS"
    )]
    arguments: Vec<String>,
}

/// What the SAM CLI says that it would deploy.
#[derive(Debug, Deserialize)]
struct Answer {
    stack: String,
    region: String,
    template: PathBuf,
    /// The parameters that the command or samconfig.toml names.
    given: BTreeMap<String, String>,
    /// Those of the stack as it is.
    previous: BTreeMap<String, String>,
    /// When the deployment before began, if it was rolled back: its versions must not be asked for again.
    attempt: String,
}

impl Answer {
    /// The value of each parameter that does not keep its default.
    fn parameters(&self) -> BTreeMap<String, String> {
        let mut parameters = self.previous.clone();
        parameters.extend(self.given.clone());
        parameters
    }

    fn at(&self) -> Whereabouts {
        Whereabouts {
            stack: self.stack.clone(),
            region: self.region.clone(),
        }
    }
}

/// The folder in which `sam build` leaves what it builds.
const BUILT: &str = ".aws-sam/build";

pub(crate) async fn run(arguments: Deploy, progress: &Progress) -> Result<ExitCode> {
    let project = Project::here()?;
    let built = project.root().join(BUILT).join("template.yaml");
    let groups: &[_] = if arguments.no_build {
        &[LOCAL]
    } else {
        &[LOCAL, BUILD]
    };
    let tools = Tools::prepare(&project, groups, progress).await?;
    let answer = ask(&project, &tools, &arguments.arguments, progress).await?;
    if ![project.template(), &built].contains(&&*answer.template) {
        bail!(
            "`surehand deploy` deploys what `sam build` leaves in {BUILT}, and the arguments or samconfig.toml name {}: leave the template out",
            answer.template.display()
        );
    }
    if !arguments.no_build {
        build(&project, &tools, &arguments.arguments, &answer).await?;
    } else if !is_current(&project, &built)? {
        bail!(
            "{BUILT} was built from other templates than those that are here: leave --no-build out"
        );
    }
    let revisions = stamp(&project, &answer)?;
    for revision in &revisions {
        let Revision { id, hash, .. } = revision;
        let why = if revision.is_new_each_time {
            " (always new: a value in it is only known to the deployment)"
        } else {
            ""
        };
        say!("{} {id}{why}", hash.get(..10).unwrap_or(hash));
    }
    if arguments.no_deploy {
        return Ok(ExitCode::SUCCESS);
    }
    let mut deploy = if arguments.review {
        let mut python = with_tools(&project, &tools, "python")?;
        python.arg(script(
            &project,
            "review.py",
            include_str!("deploy/review.py"),
        )?);
        python
    } else {
        let mut sam = with_tools(&project, &tools, "sam")?;
        sam.arg("deploy");
        sam
    };
    deploy.args(&arguments.arguments);
    // The last one counts. Named by the arguments or samconfig.toml, the source would be deployed instead, without the
    // hashes and without what was built.
    deploy.arg("--template-file").arg(&built);
    run_to_its_end(&mut deploy, "sam deploy").await
}

/// Asks the SAM CLI what it would deploy.
async fn ask(
    project: &Project,
    tools: &Tools,
    arguments: &[String],
    progress: &Progress,
) -> Result<Answer> {
    let step = progress.step("reading the stack");
    let program = script(project, "ask.py", include_str!("deploy/ask.py"))?;
    let answer = folder(project)?.join("answer.json");
    // An answer of an earlier command must never be taken for this one's.
    drop(fs::remove_file(&answer));
    let mut python = with_tools(project, tools, "python")?;
    python.arg(program).arg(&answer).args(arguments);
    // In the terminal's own group: the SAM CLI may ask for the code of a second factor there.
    python.stdout(Stdio::null());
    let outcome = run_to_its_end(&mut python, "the SAM CLI").await?;
    let text = fs::read_to_string(&answer);
    if outcome != ExitCode::SUCCESS || text.is_err() {
        drop(fs::remove_file(&answer));
        bail!("the SAM CLI did not say what it would deploy: look at the arguments");
    }
    let text = text?;
    // It may have values of parameters that are not shown.
    drop(fs::remove_file(&answer));
    let answer: Answer = serde_json::from_str(&text)
        .context("the SAM CLI said something else than what it would deploy")?;
    step.done(format!("{} in {}", answer.stack, answer.region));
    Ok(answer)
}

/// Writes the hashes into the built templates.
fn stamp(project: &Project, answer: &Answer) -> Result<Vec<Revision>> {
    let root = project.root();
    let read = |file: &str| project.text(file);
    let templates = Templates::read_by(root, &format!("{BUILT}/template.yaml"), read)?;
    let at = answer.at();
    let (parameters, attempt) = (answer.parameters(), &answer.attempt);
    let revisions = revision::revisions(&templates, root, &parameters, &at, attempt)?;
    let files: BTreeSet<&str> = revisions.iter().map(|it| &*it.file).collect();
    for file in files {
        if !Path::new(file).starts_with(BUILT) {
            bail!(
                "{file} has a function and was not built: `sam build` leaves templates with functions in {BUILT}"
            );
        }
        let hashes = revisions.iter().filter(|it| it.file == file);
        let hashes = hashes.map(|it| (&*it.id, &*it.hash)).collect();
        let text = project
            .text(file)?
            .with_context(|| format!("{file} is not there"))?;
        let text = revision::stamped(file, &text, &hashes)?;
        let path = root.join(file);
        let draft = path.with_extension("draft");
        fs::write(&draft, text)
            .and_then(|()| fs::rename(&draft, &path))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(revisions)
}

/// Builds with the parameters that are deployed: the stack's own processor, above all.
async fn build(
    project: &Project,
    tools: &Tools,
    arguments: &[String],
    answer: &Answer,
) -> Result<()> {
    let (templates, source) = (Templates::read(project)?, source(project)?);
    for package in packages(project, &templates, answer)? {
        let mut cargo = with_tools(project, tools, "cargo-lambda")?;
        cargo
            .current_dir(project.root().join(&package.folder))
            .args(package.arguments());
        for variable in project::credentials() {
            cargo.env_remove(variable);
        }
        if run_to_its_end(&mut cargo, "cargo lambda build").await? != ExitCode::SUCCESS {
            bail!("the functions could not be built, and nothing was deployed");
        }
    }
    let mut build = with_tools(project, tools, "sam")?;
    // Wherever samconfig.toml has it built: this folder is what is deployed.
    build.args(["build", "--build-dir", BUILT, "--template-file"]);
    build.arg(project.template());
    for option in ["--config-env", "--config-file"] {
        if let Some(value) = value_of(option, arguments) {
            build.args([option, value]);
        }
    }
    let parameters = overrides(&answer.parameters(), &templates);
    if !parameters.is_empty() {
        build.arg("--parameter-overrides").args(parameters);
    }
    for variable in project::credentials() {
        build.env_remove(variable);
    }
    let code = run_to_its_end(&mut build, "sam build").await?;
    if code != ExitCode::SUCCESS {
        bail!("sam build failed, and nothing was deployed");
    }
    // Each `sam build` empties the folder, so that this is of what is in it.
    let record = project.root().join(BUILT).join(SOURCE);
    fs::write(&record, source).with_context(|| format!("cannot write {}", record.display()))
}

/// The file that says from which templates the folder of what is built was built.
const SOURCE: &str = "surehand-source";

/// Whether what is built was built from the templates as they are: by their content where this command has built it, and
/// else by their times.
fn is_current(project: &Project, built: &Path) -> Result<bool> {
    match fs::read_to_string(built.with_file_name(SOURCE)) {
        Ok(record) => Ok(record == source(project)?),
        Err(_) => Ok(modified(built)? >= modified(project.template())?),
    }
}

/// The hash of the templates' content.
fn source(project: &Project) -> Result<String> {
    let mut digest = Sha256::new();
    for file in Templates::read(project)?.files() {
        let text = project.text(file)?.unwrap_or_default();
        digest.update(Sha256::digest(file));
        digest.update(Sha256::digest(text));
    }
    Ok(revision::hex(&digest.finalize()))
}

/// The functions that are built from one folder for one processor.
#[derive(Debug, PartialEq, Eq)]
struct Package {
    folder: String,
    is_arm: bool,
    binaries: BTreeSet<String>,
}

impl Package {
    /// The arguments of cargo-lambda. They are those with which the SAM CLI builds one function after the other, which
    /// then has nothing left to do.
    fn arguments(&self) -> Vec<&str> {
        let mut arguments = vec!["lambda", "build", "--release"];
        arguments.extend(self.is_arm.then_some("--arm64"));
        for binary in &self.binaries {
            arguments.extend(["--bin", binary]);
        }
        arguments
    }
}

/// Returns what one command each can build. SAM links all functions one after the other, each with all of its code.
fn packages(project: &Project, templates: &Templates, answer: &Answer) -> Result<Vec<Package>> {
    let evaluated = evaluate::resources(templates, &answer.parameters(), &answer.at())?;
    let mut packages: Vec<Package> = Vec::new();
    for function in &evaluated.resources {
        let text = |node: Option<&Node>| node.and_then(Node::text).map(str::to_owned);
        let metadata = |path: &[&str]| text(function.attributes.at(path));
        let Some(binary) = metadata(&["Metadata", "BuildProperties", "Binary"]) else {
            continue;
        };
        // SAM links for an older C library there, and with flags of the template's own it may build something else.
        let is_usual = text(function.property(&["Runtime"])).as_deref() == Some("provided.al2023")
            && metadata(&["Metadata", "BuildMethod"]).as_deref() == Some("rust-cargolambda")
            && function
                .attributes
                .at(&["Metadata", "BuildProperties", "Flags"])
                .is_none();
        let Some(code) = text(function.property(&["CodeUri"])).filter(|_| is_usual) else {
            continue;
        };
        let folder = located(&function.place.file, &code);
        if !project.root().join(&folder).is_dir() {
            continue;
        }
        let architectures = function
            .property(&["Architectures"])
            .map_or(&[][..], Node::items);
        let is_arm = architectures.iter().any(|it| it.is("arm64"));
        let same = (packages.iter_mut()).find(|it| it.folder == folder && it.is_arm == is_arm);
        match same {
            Some(same) => drop(same.binaries.insert(binary)),
            None => packages.push(Package {
                folder,
                is_arm,
                binaries: BTreeSet::from([binary]),
            }),
        }
    }
    Ok(packages)
}

/// Returns the value of an option among arguments.
fn value_of<'a>(option: &str, arguments: &'a [String]) -> Option<&'a str> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == option {
            return arguments.next().map(String::as_str);
        }
        let rest = argument.strip_prefix(option);
        if let Some(value) = rest.and_then(|rest| rest.strip_prefix('=')) {
            return Some(value);
        }
    }
    None
}

/// Writes parameters as the SAM CLI reads them. An empty value is left out, because it cannot be written, and a hidden
/// one, because everyone on the machine sees a command's arguments.
fn overrides(parameters: &BTreeMap<String, String>, templates: &Templates) -> Vec<String> {
    let declared: BTreeMap<&str, &Node> = templates.parameters().collect();
    let given = parameters.iter().filter(|(name, value)| {
        let declared = declared.get(&***name);
        !value.is_empty() && declared.is_some_and(|it| !is_hidden(it))
    });
    given
        .map(|(name, value)| {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
            format!("ParameterKey={name},ParameterValue=\"{value}\"")
        })
        .collect()
}

/// A program of the tools, which finds the others: the SAM CLI needs cargo-lambda.
fn with_tools(project: &Project, tools: &Tools, program: &str) -> Result<Command> {
    let own = tools.folder().join("bin");
    let others = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([own].into_iter().chain(env::split_paths(&others)))
        .context("the folder of the tools cannot be in PATH")?;
    let mut command = Command::new(tools.bin(program));
    command
        .current_dir(project.root())
        .env("PATH", path)
        .env("SAM_CLI_TELEMETRY", "0");
    Ok(command)
}

/// Writes a script where the tools' Python finds it.
fn script(project: &Project, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder(project)?.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The command's folder in the project's state.
fn folder(project: &Project) -> Result<PathBuf> {
    let folder = project.state()?.join("deploy");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// Runs a command that may ask questions. It shares the terminal, so that an interrupt reaches it as well.
async fn run_to_its_end(command: &mut Command, what: &str) -> Result<ExitCode> {
    let status = command
        .status()
        .await
        .with_context(|| format!("cannot start {what}"))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

fn modified(path: &Path) -> Result<std::time::SystemTime> {
    fs::metadata(path)
        .and_then(|it| it.modified())
        .with_context(|| format!("cannot read {}: build it with `sam build`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(architecture: &str) -> Answer {
        let text = |text: &str| text.to_owned();
        Answer {
            stack: text("shop"),
            region: text("us-east-1"),
            template: PathBuf::new(),
            given: BTreeMap::from([
                (text("Architecture"), text(architecture)),
                (text("EmailFrom"), text("\"a b\"@example.com")),
                (text("OtlpEndpoint"), text("")),
                (text("Other"), text("1")),
            ]),
            previous: BTreeMap::from([
                (text("Architecture"), text("riscv")),
                (text("Stage"), text("prod")),
            ]),
            attempt: String::new(),
        }
    }

    fn shop() -> (Project, Templates) {
        let project = Project::find(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        let templates = Templates::read(&project).unwrap();
        (project, templates)
    }

    #[test]
    fn the_shop_is_built_by_one_command() {
        let (project, templates) = shop();
        for (architecture, is_arm) in [("arm64", true), ("x86_64", false)] {
            let packages = packages(&project, &templates, &answer(architecture)).unwrap();
            let [package] = &packages[..] else {
                panic!("{packages:?}")
            };
            assert_eq!((&*package.folder, package.is_arm), ("handlers", is_arm));
            let functions = templates.functions().unwrap();
            assert_eq!(package.binaries.len(), functions.len());
            let all = package.arguments().join(" ");
            assert_eq!(all.contains("--arm64"), is_arm);
            assert!(all.contains("--bin audit --bin customer-ledger"));
        }
    }

    #[test]
    fn the_build_gets_the_parameters_of_the_deployment() {
        let (_, templates) = shop();
        assert_eq!(
            overrides(&answer("arm64").parameters(), &templates),
            [
                "ParameterKey=Architecture,ParameterValue=\"arm64\"",
                r#"ParameterKey=EmailFrom,ParameterValue="\"a b\"@example.com""#,
                "ParameterKey=Stage,ParameterValue=\"prod\"",
            ]
        );
    }

    #[test]
    fn an_option_is_found_in_both_forms() {
        let arguments = ["--a", "--config-env=x", "--config-file", "y"].map(str::to_owned);
        assert_eq!(value_of("--config-env", &arguments), Some("x"));
        assert_eq!(value_of("--config-file", &arguments), Some("y"));
        assert_eq!(value_of("--config", &arguments), None);
    }
}
