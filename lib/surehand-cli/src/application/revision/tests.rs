//! What can only be told by the deployment, and what a template's form does to its revisions.

use std::fs;

use super::*;

const ROLE: &str = "Role: arn:aws:iam::123456789012:role/x";

/// Returns the revisions of a template whose functions have code in the folder `code`.
fn of(template: &str, parameters: &[(&str, &str)]) -> Vec<Revision> {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("code")).unwrap();
    fs::write(root.path().join("code/bootstrap"), "code").unwrap();
    in_folder(root.path(), template, parameters)
}

fn in_folder(root: &Path, template: &str, parameters: &[(&str, &str)]) -> Vec<Revision> {
    let read = |file: &str| Ok((file == "template.yaml").then(|| template.to_owned()));
    let templates = Templates::read_by(root, "template.yaml", read).unwrap();
    let parameters = parameters.iter().copied();
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let at = Whereabouts {
        stack: "shop".to_owned(),
        region: "us-east-1".to_owned(),
    };
    revisions(&templates, root, &parameters.collect(), &at, "").unwrap()
}

/// A template with a function that has this variable, and more.
fn function(variable: &str, more: &str) -> String {
    format!(
        "Resources:\n  F:\n    Type: AWS::Serverless::Function\n    Properties:\n      CodeUri: code\n      AutoPublishAlias: live\n      {ROLE}\n      Environment:\n        Variables:\n          V: {variable}\n{more}"
    )
}

/// The hash of the one function.
fn hash(template: &str) -> String {
    let [revision] = &of(template, &[])[..] else {
        panic!("one function")
    };
    revision.hash.clone()
}

#[test]
fn what_only_the_deployment_reads_is_new_each_time() {
    for (variable, more) in [
        (
            "!Ref P",
            "Parameters:\n  P: {Type: 'AWS::SSM::Parameter::Value<String>', Default: /p}\n",
        ),
        (
            "!Ref P",
            "Parameters:\n  P: {Type: String, NoEcho: true, Default: secret}\n",
        ),
        (
            "!Sub 'a-${P}'",
            "Parameters:\n  P: {Type: String, NoEcho: true, Default: secret}\n",
        ),
        (
            "!If [C, a, b]",
            "Parameters:\n  P: {Type: String, NoEcho: true, Default: secret}\nConditions:\n  C: !Equals [!Ref P, x]\n",
        ),
        ("'{{resolve:ssm:/p}}'", ""),
        ("!Join ['', ['{{resolve:', 'secretsmanager:s}}']]", ""),
        ("a", "Transform: [AWS::Serverless-2016-10-31, Mine]\n"),
        (
            "a",
            "  G:\n    Fn::Transform: {Name: AWS::Include, Parameters: {Location: 's3://a/b'}}\n",
        ),
        (
            "!GetAtt Elsewhere.Outputs.X",
            "  Elsewhere:\n    Type: AWS::CloudFormation::Stack\n    Properties: {TemplateURL: 'https://example.com/t.yaml'}\n",
        ),
    ] {
        let template = function(variable, more);
        let [revision] = &of(&template, &[])[..] else {
            panic!("one function")
        };
        assert!(revision.is_new_each_time, "{template}");
        assert_ne!(revision.hash, hash(&template), "{template}");
    }
    // An image has the same name after each build.
    let image = function("a", "").replace(
        "    Properties:\n",
        "    Properties:\n      PackageType: Image\n",
    );
    assert_ne!(image, function("a", ""));
    assert!(of(&image, &[])[0].is_new_each_time);
    // A secret that a function does not read does not concern it.
    let template = function("a", "Parameters:\n  P: {Type: String, NoEcho: true}\n");
    assert_eq!(hash(&template), hash(&template));
}

#[test]
fn what_is_unknown_counts_as_changed_with_anything() {
    let with = |more: &str| {
        let custom = "  C:\n    Type: Custom::C\n    Properties: {A: 1}\n";
        hash(&function("!GetAtt C.X", &format!("{custom}{more}")))
    };
    assert_eq!(with(""), with(""));
    assert_ne!(
        with(""),
        with("  T: {Type: 'AWS::SNS::Topic', Properties: {TopicName: t}}\n")
    );
}

#[test]
fn a_resource_without_a_name_is_followed() {
    let table = |key: &str| {
        let table =
            format!("  T:\n    Type: AWS::DynamoDB::Table\n    Properties: {{KeySchema: {key}}}\n");
        hash(&function("!Ref T", &table))
    };
    assert_eq!(table("a"), table("a"));
    assert_ne!(table("a"), table("b"));
    // A layer's content is a part of the function.
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("code")).unwrap();
    let layer =
        "  L:\n    Type: AWS::Serverless::LayerVersion\n    Properties: {ContentUri: layer.zip}\n";
    let template = function("a\n      Layers: [!Ref L]", layer);
    let with = |content: &str| {
        fs::write(root.path().join("layer.zip"), content).unwrap();
        in_folder(root.path(), &template, &[])
    };
    assert_eq!(with("one"), with("one"));
    assert_ne!(with("one"), with("two"));
}

#[test]
fn names_and_contents_of_files_do_not_run_together() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("code");
    let with = |files: &[(&str, &str)]| {
        drop(fs::remove_dir_all(&folder));
        fs::create_dir(&folder).unwrap();
        for (name, content) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        in_folder(root.path(), &function("a", ""), &[])
    };
    let all = [
        with(&[]),
        with(&[("a", "bc")]),
        with(&[("ab", "c")]),
        with(&[("a", ""), ("b", "c")]),
        with(&[("a/b", "c")]),
        with(&[("a/b", ""), ("c", "")]),
        with(&[("a/b", ""), ("a/c", "")]),
    ];
    let hashes: BTreeSet<&str> = all.iter().flatten().map(|it| &*it.hash).collect();
    assert_eq!(hashes.len(), all.len());
}

#[test]
fn a_function_without_an_alias_has_no_revision() {
    assert_eq!(
        of(&function("a", "").replace("AutoPublishAlias", "Alias"), &[]),
        []
    );
}

#[test]
fn a_hash_is_written_and_replaced_on_its_line() {
    let template = function("a", "");
    let hashes = |hash| BTreeMap::from([("F", hash)]);
    let first = stamped("t", &template, &hashes("1a")).unwrap();
    assert!(
        first.contains("    Properties:\n      AutoPublishCodeSha256: 1a\n      CodeUri: code\n")
    );
    let second = stamped("t", &first, &hashes("2b")).unwrap();
    assert_eq!(second, first.replace("1a", "2b"));
    // It does not count for the next one.
    assert_eq!(hash(&first), hash(&template));
}

#[test]
fn a_template_that_cannot_be_written_is_an_error() {
    let hashes = BTreeMap::from([("F", "1a")]);
    for template in [
        "Resources: {F: {Properties: {CodeUri: code}}}\n",
        "Resources:\n  F:\n    Properties: {CodeUri: code}\n",
        "Resources:\n  F:\n    Properties:\n      AutoPublishCodeSha256:\n        Ref: Revision\n      CodeUri: code\n",
        "Resources:\n  F: {}\n",
    ] {
        assert!(stamped("t", template, &hashes).is_err(), "{template}");
    }
}

/// Its functions would keep their old settings after a change of parameters, without a word.
#[test]
fn functions_that_a_loop_makes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let template = |alias: &str| {
        format!(
            "Transform: [AWS::LanguageExtensions, AWS::Serverless-2016-10-31]
Resources:
  Fn::ForEach::Workers:
    - Name
    - [A, B]
    - Worker${{Name}}:
        Type: AWS::Serverless::Function
        Properties: {{CodeUri: code, {alias}: live}}
"
        )
    };
    let revisions = |text: String| {
        let read = |_: &str| Ok(Some(text.clone()));
        let templates = Templates::read_by(folder.path(), "template.yaml", read)?;
        let at = Whereabouts {
            stack: "s".to_owned(),
            region: "r".to_owned(),
        };
        super::revisions(&templates, folder.path(), &BTreeMap::new(), &at, "")
    };
    let error = revisions(template("AutoPublishAlias")).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("Fn::ForEach::Workers makes functions with an alias"),
        "{error}"
    );
    assert_eq!(revisions(template("Alias")).unwrap(), []);
}
