//! `surehand env`.

use serde_json::json;

use super::world::{FUNCTION, World, answers};

#[test]
fn elsewhere_than_on_a_local_run_no_credentials_are_printed() {
    let world = World::new(None, answers(&[]));
    let said = world.run(&["env"]);
    assert_eq!((said.code, &*said.err), (Some(0), ""), "{said:?}");
    assert_eq!(
        said.out,
        format!(
            "export AWS_DEFAULT_REGION='us-east-1'\nexport AWS_ENDPOINT_URL='{}'\nexport AWS_REGION='us-east-1'\n",
            world.endpoint
        )
    );
}

#[test]
fn a_functions_variables_are_quoted_and_secrets_left_out() {
    let mut known = answers(&[]);
    let variables = json!({"GREETING": "it's $HOME", "API_TOKEN": "s3cret"});
    known.insert(
        format!("GET /2015-03-31/functions/{FUNCTION}/configuration"),
        vec![(
            200,
            json!({"FunctionName": FUNCTION, "Environment": {"Variables": variables}}),
        )],
    );
    let world = World::new(None, known);
    let said = world.run(&["env", FUNCTION]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.out, "export GREETING='it'\\''s $HOME'\n");
    assert_eq!(said.err, "left out, since they may be secret: API_TOKEN\n");
    assert_eq!(
        world.run(&["env", FUNCTION, "--json"]).json(),
        [json!({"GREETING": "it's $HOME"})]
    );
}
