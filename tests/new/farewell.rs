//! A second function, in a template that the application nests, added while `surehand dev` runs.

use super::application::Application;
use std::time::{Duration, Instant};
use surehand_test_support::run::Run;

/// It is compiled, and two stacks are deployed.
const PATIENCE: Duration = Duration::from_secs(600);

const STACK: &str = "
  Farewells:
    Type: AWS::Serverless::Application
    Properties:
      Location: ./apps/farewells.yaml
      Parameters: {Architecture: !Ref Architecture}
";

const TEMPLATE: &str = "
AWSTemplateFormatVersion: '2010-09-09'
Transform: AWS::Serverless-2016-10-31
Parameters:
  Architecture: {Type: String}
Resources:
  Farewell:
    Type: AWS::Serverless::Function
    Metadata: {BuildMethod: rust-cargolambda, BuildProperties: {Binary: farewell}}
    Properties:
      CodeUri: ../handlers/
      Handler: bootstrap
      Runtime: provided.al2023
      Architectures: [!Ref Architecture]
      Role: !GetAtt Role.Arn
  Role:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument:
        Version: '2012-10-17'
        Statement: [{Effect: Allow, Principal: {Service: lambda.amazonaws.com}, Action: sts:AssumeRole}]
";

const FUNCTION: &str = r#"
use surehand::{BoxError, Direct, Function, Json};

async fn farewell(name: Json<String>) -> surehand::Result<String> {
    Ok(format!("good-bye, {}", name.0))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    Function::new(Direct, farewell, ()).run().await
}
"#;

pub(crate) async fn check(application: &Application, run: &Run) {
    let template = application.text("template.yaml");
    assert_eq!(template.matches("\nOutputs:").count(), 1);
    let stack = format!("{STACK}\nOutputs:");
    application.write("apps/farewells.yaml", TEMPLATE);
    application.write("template.yaml", &template.replace("\nOutputs:", &stack));
    // The binary that the template names does not exist yet.
    until(run, "no package has it", || {
        run.said()
            .contains("`farewell`, but no package of the workspace has it")
    })
    .await;
    let source = "handlers/src/bin/farewell.rs";
    application.write(source, FUNCTION);
    until(run, "the function", || said(run) == "\"good-bye, Ada\"\n").await;
    application.write(source, &FUNCTION.replace("good-bye", "see you"));
    until(run, "the other words", || said(run) == "\"see you, Ada\"\n").await;
}

/// Returns what the function replies; nothing while it does not exist.
fn said(run: &Run) -> String {
    let output = run.surehand(&["invoke", "farewell", "--event", "\"Ada\""], "");
    String::from_utf8(output.stdout).unwrap()
}

async fn until(run: &Run, what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "never {what}: {}", run.said());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
