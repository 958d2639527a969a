//! `surehand check`: holds the templates against what they must hold, and against what the functions are made of.
//!
//! Linters say whether CloudFormation accepts a template. This says whether events can get lost in it.

mod app;
mod attempts;
#[cfg(test)]
mod faults;
mod finding;
#[cfg(test)]
mod foreign;
pub(crate) mod pattern;
mod policy;
mod resourceless;
mod rules;
mod sources;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Result, bail};
use clap::Args;
use console::style;
use serde_json::json;

use crate::terminal::{self, plain};
use crate::{
    application::{
        describe::{self, Binaries, Descriptions},
        evaluate::{self, RemarkKind},
        project::Project,
        resource::Whereabouts,
    },
    progress::{Progress, number_of},
};
use app::App;
use attempts::Outage;
use finding::{Finding, Findings, Severity, rule};
use rules::environment;
use sources::{Setting, Sources};

/// How `surehand check` runs.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
    /// Check the templates alone: build nothing and run nothing of the application
    #[arg(long)]
    no_build: bool,
}

/// Prints what is wrong; fails if there is an error among it.
pub(crate) async fn run(arguments: &CheckArgs, progress: &Progress) -> Result<ExitCode> {
    let project = Project::here()?;
    let sources = Sources::read(&project)?;
    let (binaries, descriptions) = match arguments.no_build {
        true => (None, Descriptions::new()),
        false => {
            let output = project.state()?.join("check");
            let (binaries, descriptions) =
                describe::functions(&project, &sources.templates, output, |it| progress.step(it))
                    .await?;
            (Some(binaries), descriptions)
        }
    };
    let Checked { findings, outages } = check(&sources, binaries.as_ref(), &descriptions)?;
    if arguments.json {
        let found: Vec<_> = findings.iter().map(to_json).collect();
        let checked = json!({"findings": found, "outages": outages});
        terminal::out(&serde_json::to_string_pretty(&checked)?);
    } else {
        for finding in &findings {
            terminal::styled(&to_text(finding));
        }
        for outage in &outages {
            terminal::out(&plain(&outage.sentence()));
        }
    }
    let count = |severity| {
        let same = (findings.iter()).filter(|it| it.rule.severity == severity);
        same.count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let what = match arguments.no_build {
        true => "the templates without the functions' code".to_owned(),
        false => {
            let functions = descriptions.values().filter(|it| it.is_ok()).count();
            number_of(functions as u64, "function")
        }
    };
    progress.line(&format!(
        "checked {what}: {}, {}",
        number_of(errors as u64, "error"),
        number_of(warnings as u64, "warning")
    ));
    if let Some(note) = note(&sources) {
        progress.line(note);
    }
    Ok(if errors == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A finding for a command that goes on whatever is found.
pub(crate) struct Told {
    pub(crate) is_error: bool,
    /// The file and the line.
    pub(crate) place: String,
    /// Its id.
    pub(crate) rule: &'static str,
    pub(crate) sentence: String,
    pub(crate) fix: &'static str,
    /// What the finding is known by, also if it moves to another line.
    pub(crate) key: String,
}

/// Returns the errors and warnings of an application whose functions are built, each given with its executable. The
/// caller's thread is left alone.
pub(crate) async fn beside(
    project: Project,
    executables: BTreeMap<String, PathBuf>,
) -> Result<Vec<Told>> {
    let descriptions = describe::describe(&executables).await;
    let checking = tokio::task::spawn_blocking(move || {
        let sources = Sources::read(&project)?;
        let binaries = project.workspace()?.binaries(project.root());
        let Checked { findings, .. } = check(&sources, Some(&binaries), &descriptions)?;
        let worth = (findings.iter()).filter(|it| it.rule.severity != Severity::Hint);
        Ok(worth.map(Told::of).collect())
    });
    checking.await?
}

impl Told {
    fn of(finding: &Finding) -> Self {
        let (place, sentence) = (&finding.place, finding.sentence());
        Self {
            is_error: finding.rule.severity == Severity::Error,
            place: format!("{}:{}", place.file, place.line),
            rule: finding.rule.id,
            fix: finding.rule.fix,
            key: format!("{} {} {sentence}", finding.rule.id, place.file),
            sentence,
        }
    }
}

/// What is no fault of the templates, but has to be known of them.
fn note(sources: &Sources) -> Option<&'static str> {
    let has_aliases = sources.templates.have("AutoPublishAlias");
    has_aliases.then_some("the functions have aliases: `sam deploy` moves them for other code only, `surehand deploy` for other parameters as well")
}

/// How many values all evaluations of the templates may come to.
const MAX_VALUES: usize = 50_000_000;

/// What a check says of an application.
struct Checked {
    /// Everything that is wrong, by its place.
    findings: Vec<Finding>,
    /// How long each function with a queue bears an outage of what it calls, in that environment in which it is the
    /// shortest.
    outages: Vec<Outage>,
}

/// Checks the application. Without `binaries` the code of the functions is not known.
fn check(
    sources: &Sources,
    binaries: Option<&Binaries>,
    descriptions: &Descriptions,
) -> Result<Checked> {
    let mut findings = Findings::default();
    let mut outages = BTreeSet::new();
    rules::project::check_manifest(&sources.manifest, &mut findings);
    if let Some(samconfig) = &sources.samconfig {
        rules::project::check_samconfig(samconfig, &mut findings);
    }
    let settings = sources.settings()?;
    let mut cost = 0;
    let mut evaluate = |parameters: &BTreeMap<String, String>, setting: &Setting, how: How<'_>| {
        let at = Whereabouts {
            stack: setting.stack.clone(),
            region: setting.region.clone(),
        };
        if let How::Trial(name, value) = how {
            findings.try_parameter(name, value);
        }
        let evaluated = evaluate::resources(&sources.templates, parameters, &at)?;
        cost += evaluated.cost;
        if cost > MAX_VALUES {
            bail!(
                "with each allowed value of each parameter {} comes to more than {MAX_VALUES} values",
                sources.templates.main()
            );
        }
        for remark in evaluated.remarks {
            let rule = match remark.kind {
                RemarkKind::Unresolved => &rule::UNRESOLVED,
                RemarkKind::Unseen => &rule::UNSEEN,
            };
            findings.add(rule, &remark.place, "", remark.message);
        }
        let app = App::new(&evaluated.resources, descriptions);
        match how {
            How::Emulated(architecture) => {
                environment::check_emulated(&app, architecture, &mut findings);
            }
            How::AsItIs => {
                if let Some(binaries) = binaries {
                    rules::project::check_binaries(&app, binaries, descriptions, &mut findings);
                }
                rules::check(&app, &mut findings);
                for function in &app.functions {
                    let queues = function.queues();
                    outages.extend(queues.filter_map(|(_, queue)| Outage::of(function, queue)));
                }
            }
            How::Trial(..) => rules::check(&app, &mut findings),
        }
        Ok(())
    };
    for setting in &settings {
        evaluate(&setting.parameters, setting, How::AsItIs)?;
    }
    let Some(first) = settings.first() else {
        bail!("there is no environment to check the templates for");
    };
    // A processor that is not the default tells whether it can be chosen.
    let architecture = match sources.default_of("Architecture").as_deref() {
        Some("arm64") => "x86_64",
        _ => "arm64",
    };
    let mut emulated = first.parameters.clone();
    emulated.insert("EndpointUrl".to_owned(), environment::ENDPOINT.to_owned());
    emulated.insert("Architecture".to_owned(), architecture.to_owned());
    evaluate(&emulated, first, How::Emulated(architecture))?;
    for (name, value) in sources.allowed_values() {
        let own = first.parameters.get(&name).cloned();
        if own.or_else(|| sources.default_of(&name)).as_ref() == Some(&value) {
            continue;
        }
        let mut parameters = first.parameters.clone();
        parameters.insert(name.clone(), value.clone());
        evaluate(&parameters, first, How::Trial(&name, &value))?;
    }
    // They are sorted by their time.
    let mut seen = BTreeSet::new();
    let outages = outages.into_iter();
    Ok(Checked {
        findings: findings.into_sorted(),
        outages: outages
            .filter(|it| seen.insert(it.function.clone()))
            .collect(),
    })
}

/// How the application is looked at.
#[derive(Clone, Copy)]
enum How<'a> {
    /// As an environment deploys it.
    AsItIs,
    /// On an emulator, for this processor.
    Emulated(&'a str),
    /// With one parameter at one of its allowed values.
    Trial(&'a str, &'a str),
}

fn to_json(finding: &Finding) -> serde_json::Value {
    json!({
        "rule": finding.rule.id,
        "severity": finding.rule.severity,
        "file": &*finding.place.file,
        "line": finding.place.line,
        "subjects": finding.subjects.iter().filter(|it| !it.is_empty()).collect::<Vec<_>>(),
        "message": finding.sentence(),
        "fix": finding.rule.fix,
    })
}

fn to_text(finding: &Finding) -> String {
    let severity = finding.rule.severity.as_str();
    let severity = match finding.rule.severity {
        Severity::Error => style(severity).red().bold(),
        Severity::Warning => style(severity).yellow().bold(),
        Severity::Hint => style(severity).cyan().bold(),
    };
    format!(
        "{}:{}: {severity}[{}]: {}\n    {}",
        plain(&finding.place.file),
        finding.place.line,
        finding.rule.id,
        plain(&finding.sentence()),
        finding.rule.fix,
    )
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[tokio::test]
    async fn an_application_is_checked_over_the_functions_that_were_built() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let template = "\
Transform: AWS::Serverless-2016-10-31
Resources:
  Work:
    Type: AWS::Serverless::Function
    Metadata:
      BuildProperties: {Binary: work}
    Properties:
      Events:
        Queue:
          Type: SQS
          Properties: {Queue: !GetAtt Queue.Arn}
  Queue:
    Type: AWS::SQS::Queue
";
        fs::create_dir(path("src")).unwrap();
        for (name, text) in [
            ("template.yaml", template),
            (
                "Cargo.toml",
                "[package]\nname = \"work\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
            ),
            ("src/main.rs", "fn main() {}\n"),
            ("work", "#!/bin/sh\necho no table >&2; exit 1\n"),
        ] {
            fs::write(path(name), text).unwrap();
        }
        fs::set_permissions(path("work"), fs::Permissions::from_mode(0o755)).unwrap();
        let project = Project::find(folder.path()).unwrap();
        let executables = BTreeMap::from([("work".to_owned(), path("work"))]);
        let told = beside(project, executables).await.unwrap();
        let is_told = |is_error: bool, place: &str, part: &str| {
            told.iter().any(|it| {
                it.is_error == is_error && it.place == place && it.sentence.contains(part)
            })
        };
        let sentences: Vec<_> = told.iter().map(|it| (&it.place, &it.sentence)).collect();
        assert!(
            is_told(false, "template.yaml:6", "no table"),
            "{sentences:?}"
        );
        assert!(told.iter().any(|it| it.is_error), "{sentences:?}");
        assert!(told.iter().all(|it| it.rule.starts_with("SH")));
    }
}
