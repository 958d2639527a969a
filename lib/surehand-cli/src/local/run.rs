//! The application running on this machine: tools, build, emulator and deployment, in that order.
//!
//! `dev` and `demo` differ only in what they do with it.

use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use aws_config::SdkConfig;
use aws_sdk_lambda::primitives::Blob;
use tokio::process::Command;

use crate::{
    application::{
        compile::{Compiler, Package, Profile},
        package::package,
        project::Project,
        samconfig::Settings,
        templates::Templates,
    },
    child,
    local::{
        emulator::{Emulator, REGION},
        stack::Stack,
        tools::{LOCAL, Tools},
    },
    private,
    progress::{Progress, Step, number_of},
};

/// The stack's name where neither the caller nor `samconfig.toml` gives one.
const DEFAULT_STACK: &str = "local";

/// How to run the application.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Names the folder in `.surehand`, so that several can run at the same time.
    pub(crate) run: String,
    pub(crate) profile: Profile,
    /// Where the emulator listens; on a free port if none is given.
    pub(crate) address: (IpAddr, Option<u16>),
    /// The stack's name; by default that of `samconfig.toml`.
    pub(crate) stack: Option<String>,
    /// Parameters of the template, which override `samconfig.toml`.
    pub(crate) parameters: BTreeMap<String, String>,
}

/// A deployed application; dropping it takes everything down.
pub(crate) struct Local {
    pub(crate) stack: Stack,
    pub(crate) config: SdkConfig,
    pub(crate) emulator: Emulator,
    project: Project,
    tools: Tools,
    compiler: Compiler,
    packages: BTreeMap<String, Package>,
    settings: Settings,
    profile: Profile,
    /// Counts the deployments.
    revision: u32,
    /// Whether the template was deployed as it was read last.
    is_current: bool,
    folder: PathBuf,
    /// Allows one run at a time in a folder. It is released when the process ends, in whatever way.
    _lock: File,
}

impl Local {
    pub(crate) async fn start(options: Options, progress: &Progress) -> Result<Self> {
        let project = Project::here()?;
        let templates = Templates::read(&project)?;
        let mut settings = Settings::read(&project)?;
        if let Some(unknown) = options
            .parameters
            .keys()
            .find(|name| !templates.has_parameter(name))
        {
            bail!(
                "{} has no parameter {unknown}",
                project.template().display()
            );
        }
        settings.parameters.extend(options.parameters);
        let name = options
            .stack
            .clone()
            .or_else(|| settings.stack_name.clone())
            .unwrap_or_else(|| DEFAULT_STACK.to_owned());
        let folder = project.state()?.join(&options.run);
        private::folder(&folder)?;
        let lock = lock(&folder, &options.run)?;
        let compiler = compiler(&project, &templates, options.profile, &folder).await?;

        // The first time both take minutes; they run concurrently, since one waits for the network
        // and the other for the processor.
        let (tools, packages) = tokio::try_join!(
            Tools::prepare(&project, &[LOCAL], progress),
            build(&compiler, progress)
        )?;

        let step = progress.step("starting the emulator");
        let emulator = Emulator::start(&tools, &folder, options.address, &step).await?;
        step.done(emulator.endpoint());

        let config = emulator.config();
        let mut local = Self {
            stack: Stack {
                name,
                endpoint: emulator.endpoint().to_owned(),
                key: emulator.key().clone(),
                outputs: BTreeMap::new(),
                functions: Vec::new(),
            },
            config,
            emulator,
            project,
            tools,
            compiler,
            packages,
            settings,
            profile: options.profile,
            revision: 0,
            is_current: false,
            folder,
            _lock: lock,
        };
        local.deploy(progress).await?;
        Ok(local)
    }

    /// Where the run keeps its files.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn project(&self) -> &Project {
        &self.project
    }

    /// The executables of the functions as they were built last.
    pub(crate) fn executables(&self) -> BTreeMap<String, PathBuf> {
        let packages = self.packages.iter();
        packages
            .map(|(binary, package)| (binary.clone(), package.executable()))
            .collect()
    }

    /// Whether the last deployment succeeded.
    pub(crate) fn is_current(&self) -> bool {
        self.is_current
    }

    /// Deploys the current template, with the packages of the last build and those of new
    /// functions.
    pub(crate) async fn deploy(&mut self, progress: &Progress) -> Result<()> {
        self.is_current = false;
        let templates = Templates::read(&self.project)?;
        let functions = templates.functions()?;
        if templates.binaries() != *self.compiler.binaries() {
            let compiler = compiler(&self.project, &templates, self.profile, &self.folder).await?;
            self.packages = build(&compiler, progress).await?;
            self.compiler = compiler;
        }
        let step = progress.step("deploying the template");
        let zips = self
            .packages
            .iter()
            .map(|(binary, package)| (binary.clone(), package.zip.clone()))
            .collect();
        let packaged = self.folder.join("template.json");
        let parameters = self.parameters(&templates);
        package(&templates, &packaged, &zips, &parameters)?;

        self.revision += 1;
        self.sam_deploy(&parameters, &packaged, &step).await?;
        self.stack = Stack::describe(
            &self.config,
            &self.stack.name,
            (self.emulator.endpoint(), self.emulator.key()),
            &functions,
        )
        .await?;
        self.write_variables().await?;
        self.stack.announce(&self.folder)?;
        self.is_current = true;
        step.done(format!(
            "stack {}, {}",
            self.stack.name,
            number_of(functions.len() as u64, "function")
        ));
        Ok(())
    }

    /// Writes the environments of the deployed functions in the form of `sam local`, which does not
    /// know the names of nested stacks.
    async fn write_variables(&self) -> Result<()> {
        let lambda = aws_sdk_lambda::Client::new(&self.config);
        let mut variables = BTreeMap::new();
        for function in &self.stack.functions {
            let output = lambda
                .get_function_configuration()
                .function_name(&function.name)
                .send()
                .await
                .with_context(|| format!("cannot describe {}", function.name))?;
            let environment = output.environment().and_then(|it| it.variables().cloned());
            let environment: BTreeMap<_, _> = environment.into_iter().flatten().collect();
            variables.insert(function.logical_id.clone(), environment);
        }
        let file = self.folder.join("env.json");
        private::write(&file, serde_json::to_vec_pretty(&variables)?)
    }

    /// Returns the values of the template's parameters: the given ones, and those that only this
    /// machine knows.
    fn parameters(&self, templates: &Templates) -> BTreeMap<String, String> {
        let mut parameters = self.settings.parameters.clone();
        parameters.insert("Architecture".to_owned(), architecture().to_owned());
        parameters.insert(
            "EndpointUrl".to_owned(),
            self.emulator.endpoint().to_owned(),
        );
        parameters.retain(|name, _| templates.has_parameter(name));
        parameters
    }

    async fn sam_deploy(
        &self,
        parameters: &BTreeMap<String, String>,
        packaged: &Path,
        step: &Step,
    ) -> Result<()> {
        let mut sam = Command::new(self.tools.bin("sam"));
        for (name, _) in std::env::vars_os() {
            // A profile or endpoint of the caller must not send this deployment to a real account, and a proxy must not
            // see its key.
            let name = name.to_string_lossy();
            let is_proxy = name.to_ascii_lowercase().ends_with("_proxy");
            if name.starts_with("AWS_") || name.starts_with("SAM_") || is_proxy {
                sam.env_remove(&*name);
            }
        }
        sam.current_dir(&self.folder)
            .env("AWS_ACCESS_KEY_ID", &self.emulator.key().id)
            .env("AWS_SECRET_ACCESS_KEY", &self.emulator.key().secret)
            .env("AWS_ENDPOINT_URL", self.emulator.endpoint())
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("SAM_CLI_TELEMETRY", "0")
            // The default of five seconds is for an API that throttles.
            .env("SAM_CLI_POLL_DELAY", "0.2")
            .env("__SAM_CLI_APP_DIR", self.folder.join("sam"))
            .args(["deploy", "--template-file"])
            .arg(packaged)
            .args(["--stack-name", &self.stack.name])
            .args(["--region", REGION, "--resolve-s3"])
            .args(["--no-confirm-changeset", "--no-fail-on-empty-changeset"])
            // The emulator loses attributes of resources that an update does not change; a new tag
            // changes every resource.
            .args(["--tags", &format!("revision={}", self.revision)])
            .args(["--no-progressbar", "--capabilities"])
            .args([
                "CAPABILITY_IAM",
                "CAPABILITY_NAMED_IAM",
                "CAPABILITY_AUTO_EXPAND",
            ]);
        give(&mut sam, parameters, &self.folder)?;
        let log = self.folder.join("deploy.log");
        let outcome = child::run(&mut sam, "sam deploy", |line| step.say(line.to_owned())).await;
        let text = match &outcome {
            Ok(lines) => lines.join("\n"),
            Err(error) => format!("{error:#}"),
        };
        private::write(&log, text)?;
        outcome.map(drop)
    }

    /// Builds again and updates the functions whose executable changed; returns their short names.
    pub(crate) async fn rebuild(&mut self, progress: &Progress) -> Result<Vec<String>> {
        let packages = build(&self.compiler, progress).await?;
        let lambda = aws_sdk_lambda::Client::new(&self.config);
        let mut updated = Vec::new();
        for function in &self.stack.functions {
            let Some(package) = packages.get(&function.binary) else {
                continue;
            };
            if self.packages.get(&function.binary) == Some(package) {
                continue;
            }
            let code = tokio::fs::read(&package.zip)
                .await
                .with_context(|| format!("cannot read {}", package.zip.display()))?;
            lambda
                .update_function_code()
                .function_name(&function.name)
                .zip_file(Blob::new(code))
                .send()
                .await
                .with_context(|| format!("cannot update {}", function.name))?;
            updated.push(function.binary.clone());
        }
        self.packages = packages;
        Ok(updated)
    }
}

/// Gives the SAM CLI the parameters by a file: everyone on the machine sees a command's arguments, and some values are
/// not to be shown.
fn give(sam: &mut Command, parameters: &BTreeMap<String, String>, folder: &Path) -> Result<()> {
    if parameters.is_empty() {
        return Ok(());
    }
    // It takes YAML, of which JSON is a part.
    let file = folder.join("parameters.yaml");
    private::write(&file, serde_json::to_vec_pretty(parameters)?)?;
    sam.arg("--parameter-overrides");
    sam.arg(format!("file://{}", file.display()));
    Ok(())
}

impl Drop for Local {
    fn drop(&mut self) {
        Stack::withdraw(&self.folder);
    }
}

/// Makes the compiler for the functions of the current template.
async fn compiler(
    project: &Project,
    templates: &Templates,
    profile: Profile,
    folder: &Path,
) -> Result<Compiler> {
    templates.functions()?;
    let binaries = templates.binaries();
    if binaries.is_empty() {
        bail!(
            "{} has no function with Metadata.BuildProperties.Binary",
            project.template().display()
        );
    }
    let workspace = {
        let project = project.clone();
        tokio::task::spawn_blocking(move || project.workspace()).await??
    };
    Compiler::new(
        project,
        &workspace,
        binaries,
        profile,
        folder.join("packages"),
    )
}

async fn build(compiler: &Compiler, progress: &Progress) -> Result<BTreeMap<String, Package>> {
    let step = progress.step("building the functions");
    let packages = compiler.build(&step).await?;
    let names: Vec<&str> = packages.keys().map(String::as_str).collect();
    step.done(names.join(", "));
    Ok(packages)
}

fn lock(folder: &Path, run: &str) -> Result<File> {
    let file = private::create(&Stack::lock(folder))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!(
                "a run named {run} is already active in this project: stop it, or pass another --run"
            )
        }
        Err(TryLockError::Error(error)) => Err(error).context("cannot lock the project"),
    }
}

/// This machine's architecture by Lambda's name, since the functions run as its processes.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// `ps` shows the arguments to everyone.
    #[test]
    fn a_parameters_value_is_in_no_argument() {
        let folder = tempfile::tempdir().unwrap();
        let parameters = [("Secret", "s3cr3t \"x\""), ("Empty", "")];
        let parameters: BTreeMap<_, _> = parameters
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let mut sam = Command::new("sam");
        give(&mut sam, &parameters, folder.path()).unwrap();
        let file = folder.path().join("parameters.yaml");
        let arguments: Vec<_> = sam.as_std().get_args().collect();
        let reference = format!("file://{}", file.display());
        assert_eq!(arguments, ["--parameter-overrides", &reference]);
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = std::fs::read(&file).unwrap();
        let read: BTreeMap<String, String> = serde_json::from_slice(&text).unwrap();
        assert_eq!(read, parameters);

        let mut sam = Command::new("sam");
        give(&mut sam, &BTreeMap::new(), folder.path()).unwrap();
        assert_eq!(sam.as_std().get_args().count(), 0);
    }
}
