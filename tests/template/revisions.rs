//! What `surehand deploy` writes into a built template, and the versions that SAM makes of it: of each function exactly
//! when its code, its settings or a parameter that it depends on has changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
};

use surehand_test_support::{cargo, run};

use super::project::root;

/// Versions' logical ids by functions.
type Versions = BTreeMap<String, String>;

/// A folder with an application that looks as if `sam build` had built it, and a CloudFormation that has its stack.
struct Application {
    folder: PathBuf,
    endpoint: String,
}

/// How CloudFormation answers when it is asked for the stack.
#[derive(Clone)]
enum Stack {
    None,
    Refused,
    /// Its status and its parameters.
    Deployed(&'static str, &'static [(&'static str, &'static str)]),
}

impl Stack {
    fn answer(&self) -> (u16, String) {
        let error = |code, message| {
            format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
            )
        };
        match self {
            Self::None => (
                400,
                error("ValidationError", "Stack with id shop does not exist"),
            ),
            Self::Refused => (403, error("AccessDenied", "not authorized")),
            Self::Deployed(status, parameters) => {
                let parameters: String = parameters
                    .iter()
                    .map(|(name, value)| format!("<member><ParameterKey>{name}</ParameterKey><ParameterValue>{value}</ParameterValue></member>"))
                    .collect();
                (
                    200,
                    format!(
                        "<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackName>shop</StackName><StackStatus>{status}</StackStatus><CreationTime>2026-01-01T00:00:00Z</CreationTime><LastUpdatedTime>2026-01-02T00:00:00Z</LastUpdatedTime><Parameters>{parameters}</Parameters></member></Stacks></DescribeStacksResult></DescribeStacksResponse>"
                    ),
                )
            }
        }
    }

    /// Answers what a deployment asks for up to its change set; that of the tables is nested in the main one.
    fn change_set(&self, request: &str) -> (u16, String) {
        let change = |name: &str, kind: &str, more: &str| {
            format!(
                "<member><Type>Resource</Type><ResourceChange><Action>Modify</Action><LogicalResourceId>{name}</LogicalResourceId><ResourceType>{kind}</ResourceType>{more}</ResourceChange></member>"
            )
        };
        let result = |action: &str, result: &str| {
            (
                200,
                format!(
                    "<{action}Response><{action}Result>{result}</{action}Result></{action}Response>"
                ),
            )
        };
        let described = |changes: &str| {
            let done = "<Status>CREATE_COMPLETE</Status>";
            result(
                "DescribeChangeSet",
                &format!("{done}<Changes>{changes}</Changes>"),
            )
        };
        if request.contains("Action=CreateChangeSet") {
            let nested = request.contains("IncludeNestedStacks=true");
            return match nested {
                true => result(
                    "CreateChangeSet",
                    "<Id>arn:main</Id><StackId>arn:stack</StackId>",
                ),
                false => (
                    400,
                    "the change sets of nested stacks are wanted".to_owned(),
                ),
            };
        }
        if request.contains("Action=GetTemplateSummary") {
            return result("GetTemplateSummary", "<Parameters/>");
        }
        if request.contains("Action=DescribeChangeSet") && request.contains("arn%3Atables") {
            let table = "<Replacement>True</Replacement>";
            return described(&change("ShopTable", "AWS::DynamoDB::Table", table));
        }
        if request.contains("Action=DescribeChangeSet") {
            let nested = "<Replacement>False</Replacement><ChangeSetId>arn:tables</ChangeSetId>";
            return described(&change("Tables", "AWS::CloudFormation::Stack", nested));
        }
        if request.contains("Action=DescribeStacks") {
            return self.answer();
        }
        // S3 has everything already, or takes it.
        (200, String::new())
    }

    /// Answers every request in this way, and returns where.
    fn serve(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let mut length = 0;
                let mut line = String::new();
                while stream.read_line(&mut line).unwrap() > 2 {
                    let line = std::mem::take(&mut line).to_lowercase();
                    if let Some(value) = line.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                }
                let mut request = vec![0; length];
                stream.read_exact(&mut request).unwrap();
                let (status, body) = self.change_set(&String::from_utf8_lossy(&request));
                let length = body.len();
                let stream = stream.get_mut();
                write!(stream, "HTTP/1.1 {status} x\r\ncontent-type: text/xml\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
            }
        });
        endpoint
    }
}

impl Application {
    /// The shop, with its template changed by `change`.
    fn shop(name: &str, stack: Stack, change: impl Fn(&str) -> String) -> Self {
        let folder = Self::empty(name);
        fs::create_dir(folder.join("infra")).unwrap();
        for entry in fs::read_dir(root().join("infra")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|it| it == "yaml") {
                fs::copy(&path, folder.join("infra").join(path.file_name().unwrap())).unwrap();
            }
        }
        let template = fs::read_to_string(root().join("template.yaml")).unwrap();
        fs::write(folder.join("template.yaml"), change(&template)).unwrap();
        Self::built(folder, stack)
    }

    /// What `surehand new` makes, with its template changed by `change`.
    fn new(name: &str, change: impl Fn(&str) -> String) -> Self {
        let folder = Self::empty(name);
        fs::remove_dir(&folder).unwrap();
        let mut new = Command::new(run::surehand());
        cargo::output_of(new.args(["new", "--with-redrive"]).arg(&folder));
        let path = folder.join("template.yaml");
        let template = fs::read_to_string(&path).unwrap();
        fs::write(path, change(&template)).unwrap();
        fs::remove_file(folder.join("samconfig.toml")).unwrap();
        Self::built(folder, Stack::None)
    }

    fn empty(name: &str) -> PathBuf {
        let folder = cargo::scratch().join("revisions").join(name);
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn built(folder: PathBuf, stack: Stack) -> Self {
        fs::create_dir(folder.join(".surehand")).unwrap();
        symlink(cargo::tools(), folder.join(".surehand/venv")).unwrap();
        let application = Self {
            folder,
            endpoint: stack.serve(),
        };
        application.build();
        application
    }

    fn build(&self) {
        cargo::output_of(self.python("build.py").current_dir(&self.folder));
    }

    fn python(&self, program: &str) -> Command {
        let mut python = Command::new(cargo::tools().join("bin/python"));
        python
            .arg(
                Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("template/sam")
                    .join(program),
            )
            .env("AWS_DEFAULT_REGION", "us-east-1");
        python
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut deploy = Command::new(run::surehand());
        deploy
            .current_dir(&self.folder)
            .arg("deploy")
            .args(arguments)
            .args(["--stack-name", "shop"])
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "x")
            .env("AWS_SECRET_ACCESS_KEY", "x")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("SAM_CLI_TELEMETRY", "0");
        deploy
    }

    fn deploy(&self, arguments: &[&str]) -> Output {
        let mut deploy = self.command(&["--no-build", "--no-deploy"]);
        deploy.args(arguments).output().unwrap()
    }

    /// Keeps the built template under another name, once the hashes are in it.
    fn stamped(&self, name: &str, parameters: &[&str]) -> PathBuf {
        let mut arguments = vec!["--parameter-overrides"];
        arguments.extend(parameters);
        let arguments = if parameters.is_empty() {
            &[]
        } else {
            &arguments[..]
        };
        let output = self.deploy(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {errors}");
        let kept = self.folder.join(format!("{name}.yaml"));
        fs::copy(self.folder.join(".aws-sam/build/template.yaml"), &kept).unwrap();
        kept
    }

    /// Translates stamped templates as CloudFormation does.
    fn versions(&self, templates: &[PathBuf]) -> Vec<Versions> {
        let mut translate = self.python("translate.py");
        let output = cargo::output_of(translate.args(templates));
        output
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Changes each parameter by itself, and compares the functions of which there is another version then.
    fn changes(&self, expected: &[(&str, &[&str])]) {
        let template = fs::read_to_string(self.folder.join("template.yaml")).unwrap();
        let declared = template.split("\nParameters:").nth(1).unwrap();
        let declared = declared.split("\n\n").next().unwrap().lines();
        let declared: BTreeSet<&str> = declared
            .filter(|line| {
                line.starts_with("  ") && !line.starts_with("   ") && !line.contains('#')
            })
            .map(|line| line.trim().trim_end_matches(':'))
            .collect();
        let changed = expected
            .iter()
            .map(|(change, _)| change.split('=').next().unwrap());
        assert_eq!(
            changed.collect::<BTreeSet<_>>(),
            declared,
            "every parameter is tried"
        );

        let mut templates = vec![self.stamped("before", &[])];
        for (change, _) in expected {
            templates.push(self.stamped(change.split('=').next().unwrap(), &[change]));
        }
        let versions = self.versions(&templates);
        let (before, after) = versions.split_first().unwrap();
        for ((change, functions), after) in expected.iter().zip(after) {
            let moved: BTreeSet<&str> = before
                .iter()
                .filter(|(function, version)| after[*function] != **version)
                .map(|(function, _)| &**function)
                .collect();
            let functions: BTreeSet<&str> = functions.iter().copied().collect();
            assert_eq!(moved, functions, "{change}");
        }
    }
}

fn as_it_is(template: &str) -> String {
    template.to_owned()
}

const ALL: &[&str] = &[
    "PlaceOrder",
    "ReserveStock",
    "NotifyCustomer",
    "CustomerLedger",
    "Audit",
    "OutboxRelay",
    "OutboxSweep",
    "Redrive",
];

#[test]
fn a_parameter_moves_the_aliases_that_depend_on_it_and_no_others() {
    let shop = Application::shop("shop", Stack::None, as_it_is);
    let but_redrive = &ALL[..7];
    let patient = &["NotifyCustomer", "CustomerLedger"];
    shop.changes(&[
        ("Stage=prod", ALL),
        ("Architecture=x86_64", ALL),
        ("SafeDeployments=true", &[]),
        ("EndpointUrl=http://127.0.0.1:4566", ALL),
        ("OtlpEndpoint=https://collector.example.com:4318", ALL),
        ("FunctionTimeout=60", but_redrive),
        ("RedriveTimeout=60", &["Redrive"]),
        ("MaxAttempts=6", patient),
        ("MaxBackoff=60", patient),
        ("OrderMaxAttempts=6", &["ReserveStock"]),
        ("OrderMaxBackoff=60", &["ReserveStock"]),
        ("ProvisionedPollers=true", &[]),
        ("EmailFrom=other@example.com", &["NotifyCustomer"]),
        ("ArchiveDays=7", &[]),
        ("SchemaDiscovery=true", &[]),
        // The tables have no names of their own, and nothing here knows that another key does not replace them.
        ("CustomerManagedKey=true", ALL),
        ("AlarmEmail=oncall@example.com", &[]),
        ("LogLevel=DEBUG", ALL),
        ("LogRetentionDays=90", &[]),
        ("Publishers=arn:aws:iam::123456789012:role/operator", &[]),
        (
            "PermissionsBoundary=arn:aws:iam::123456789012:policy/limits",
            &[],
        ),
        // A role with another path is another role.
        ("RolePath=/shop/", ALL),
    ]);
}

#[test]
fn a_new_application_has_no_alias_and_gets_its_revisions_with_it() {
    let without = Application::new("new", as_it_is);
    let stamped = without.stamped("before", &[]);
    assert!(
        !fs::read_to_string(&stamped)
            .unwrap()
            .contains("AutoPublishCodeSha256")
    );
    assert_eq!(without.versions(&[stamped]), [Versions::new()]);

    let alias = |template: &str| {
        let globals = "    Timeout: !Ref FunctionTimeout\n";
        template.replacen(
            globals,
            &format!("{globals}    AutoPublishAlias: live\n"),
            1,
        )
    };
    let all = &["WelcomeUser", "Redrive"];
    Application::new("alias", alias).changes(&[
        ("Stage=prod", all),
        ("Architecture=x86_64", all),
        ("EndpointUrl=http://127.0.0.1:4566", all),
        ("FunctionTimeout=60", &["WelcomeUser"]),
        ("RedriveTimeout=60", &["Redrive"]),
        ("RedriveSchedule='rate(2 days)'", &[]),
        ("MaxAttempts=6", &["WelcomeUser"]),
        ("MaxBackoff=60", &["WelcomeUser"]),
        ("AlarmEmail=oncall@example.com", &[]),
        ("LogLevel=DEBUG", all),
        ("LogRetentionDays=90", &[]),
        (
            "PermissionsBoundary=arn:aws:iam::123456789012:policy/limits",
            &[],
        ),
        ("RolePath=/shop/", all),
    ]);
}

#[test]
fn what_is_the_same_stays_and_other_code_moves_its_function_alone() {
    let shop = Application::shop("code", Stack::None, as_it_is);
    let first = shop.stamped("first", &["LogLevel=DEBUG", "Stage=prod"]);
    // The hashes of the first time are in the built template now.
    let again = shop.stamped("again", &["Stage=prod", "LogLevel=DEBUG"]);
    shop.build();
    let rebuilt = shop.stamped("rebuilt", &["Stage=prod", "LogLevel=DEBUG"]);
    fs::write(shop.folder.join(".aws-sam/build/Audit/bootstrap"), "other").unwrap();
    let other = shop.stamped("other", &["Stage=prod", "LogLevel=DEBUG"]);
    let [first, again, rebuilt, other] = &mut shop.versions(&[first, again, rebuilt, other])[..]
    else {
        unreachable!("four templates")
    };
    assert_eq!(first, again);
    assert_eq!(first, rebuilt);
    assert_ne!(
        other
            .insert("Audit".to_owned(), first["Audit"].clone())
            .unwrap(),
        first["Audit"]
    );
    assert_eq!(first, other);
}

#[test]
fn a_parameter_that_is_not_given_keeps_the_value_of_the_stack() {
    let debug: &[(&str, &str)] = &[("LogLevel", "DEBUG"), ("Gone", "1")];
    let deployed = Application::shop(
        "previous",
        Stack::Deployed("UPDATE_COMPLETE", debug),
        as_it_is,
    );
    let fresh = Application::shop("fresh", Stack::None, as_it_is);
    let rolled_back = Stack::Deployed("UPDATE_ROLLBACK_COMPLETE", debug);
    let rolled_back = Application::shop("rolled-back", rolled_back, as_it_is);
    // A stack in this state has no parameters that a deployment keeps.
    let review = Stack::Deployed("REVIEW_IN_PROGRESS", debug);
    let review = Application::shop("review", review, as_it_is);
    let versions = deployed.versions(&[
        deployed.stamped("kept", &[]),
        fresh.stamped("given", &["LogLevel=DEBUG"]),
        deployed.stamped("changed", &["LogLevel=INFO"]),
        fresh.stamped("default", &[]),
        review.stamped("review", &[]),
        rolled_back.stamped("retried", &[]),
    ]);
    assert_eq!(versions[0], versions[1]);
    assert_eq!(versions[2], versions[3]);
    assert_eq!(versions[3], versions[4]);
    let all_differ = |a: &Versions, b: &Versions| a.iter().all(|(name, id)| b[name] != *id);
    assert!(all_differ(&versions[0], &versions[2]));
    assert!(all_differ(&versions[0], &versions[5]));
}

#[test]
fn nothing_is_written_without_knowing_the_stack() {
    let refused = Application::shop("refused", Stack::Refused, as_it_is);
    let built = refused.folder.join(".aws-sam/build/template.yaml");
    let before = fs::read(&built).unwrap();
    let fails = |application: &Application, arguments: &[&str], reason: &str| {
        let output = application.deploy(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(errors.contains(reason), "{errors}");
    };
    fails(&refused, &[], "not authorized");
    fails(&refused, &["--guided"], "asks no questions");
    assert_eq!(fs::read(&built).unwrap(), before);

    let stale = Application::shop("stale", Stack::None, as_it_is);
    fails(
        &stale,
        &["--template-file", "infra/tables.yaml"],
        "leave the template out",
    );
    let template = stale.folder.join("template.yaml");
    fs::write(&template, fs::read(&template).unwrap()).unwrap();
    fails(&stale, &[], "was built from other templates");
    stale.build();
    fs::remove_file(stale.folder.join(".aws-sam/build/Audit/bootstrap")).unwrap();
    fs::remove_dir(stale.folder.join(".aws-sam/build/Audit")).unwrap();
    fails(&stale, &[], "cannot read the code of Audit");
}

#[test]
fn a_review_shows_what_nested_stacks_replace() {
    let deployed = Stack::Deployed("UPDATE_COMPLETE", &[]);
    let shop = Application::shop("review-changes", deployed, as_it_is);
    let mut command = shop.command(&["--no-build", "--review"]);
    let output = command.args(["--s3-bucket", "artifacts"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    for line in [
        "Modify  Tables  AWS::CloudFormation::Stack\n",
        "Modify  Tables/ShopTable  AWS::DynamoDB::Table  REPLACED\n",
        "aws cloudformation execute-change-set --region us-east-1 --change-set-name arn:main\n",
    ] {
        assert!(text.contains(line), "{text}{errors}");
    }
}
