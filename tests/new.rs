//! What `surehand new` makes is an application: it is tested, checked, validated and deployed here as
//! its owner would do it, and handles its first events.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod new {
    pub(crate) mod application;
    pub(crate) mod farewell;
    pub(crate) mod handled;
}

use new::{application::Application, farewell, handled::Handled};
use surehand_test_support::run::Run;

/// This is one test, because each step needs the result of the previous one.
#[tokio::test]
async fn a_new_application_works_as_it_is() {
    let application = Application::make("hello", &[]);
    application.is_formatted();
    application.passes_its_tests();
    application.passes_the_check();
    application.is_valid();

    let mut run = Run::start(application.place(), "dev", &[]).await;
    assert_eq!(run.stack.outputs["EventBusName"], "hello-bus");
    let sample = application.text("events.jsonl");
    let user = |event: &str, user: &str, name: &str| {
        serde_json::json!({
            "source": "hello.users",
            "detail-type": "UserRegistered",
            "metadata": {"id": event},
            "data": {"user_id": user, "name": name},
        })
    };
    let (grace, nameless) = (user("e-1", "u-2", "Grace"), user("e-2", "u-3", ""));
    Handled::publish(&run, &sample);
    Handled::publish(&run, &grace.to_string());
    let mut handled = Handled::of(&run, 2).await;
    assert_eq!(handled.welcomed, ["u-1", "u-2"]);
    assert_eq!(handled.outcomes, ["ok", "ok"]);

    // The same event is sent again, and one that can never be handled.
    Handled::publish(&run, &format!("{grace}\n{nameless}"));
    handled = Handled::of(&run, 4).await;
    assert_eq!(handled.welcomed, ["u-1", "u-2"]);
    assert_eq!(handled.outcomes, ["duplicate", "ok", "ok", "park"]);
    let groups = run.surehand(
        &["dlq", "groups", "--function", "welcome-user", "--json"],
        "",
    );
    let group: serde_json::Value = serde_json::from_slice(&groups.stdout).unwrap();
    assert_eq!(group["kind"], "rejected", "{group}");
    assert_eq!(group["message"], "user # has no name", "{group}");
    assert_eq!(group["count"], 1, "{group}");

    farewell::check(&application, &run).await;
    run.end();
}

#[test]
fn a_new_application_can_have_the_redrive_function() {
    let application = Application::make("again", &["--with-redrive"]);
    application.is_formatted();
    application.passes_the_check();
    application.is_valid();

    // An event that the schedule's rule cannot deliver is kept: its queue knows the rule by its
    // name.
    let template: yaml_serde::Value =
        yaml_serde::from_str(&application.text("template.yaml")).unwrap();
    let resources = &template["Resources"];
    let rule = resources["RedriveRule"]["Properties"]["Name"].clone();
    let sources = &resources["EventBusDeadLetters"]["Properties"]["Parameters"]["SourceArns"];
    let text = |value: &yaml_serde::Value| yaml_serde::to_string(value).unwrap();
    let name = text(&rule).replace("!Sub", "").trim().to_owned();
    let arn = format!("${{AWS::AccountId}}:rule/{name}\n");
    assert!(text(sources).contains(&arn), "{sources:?}");
}
