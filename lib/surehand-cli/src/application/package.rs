//! A copy of the templates that deploys what was just built.
//!
//! It is JSON with CloudFormation's long forms (`{"Ref": …}` for `!Ref`), which every tool reads.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{
    templates::{self, Function, Templates},
    yaml::Node,
};
use crate::private;

/// The properties of a resource that may name a local file or folder.
const LOCAL_PATHS: [&str; 5] = [
    "CodeUri",
    "ContentUri",
    "DefinitionUri",
    "Location",
    "TemplateURL",
];

/// The properties of a function that publish its versions and shift traffic between them.
const VERSIONS: [&str; 2] = ["AutoPublishAlias", "DeploymentPreference"];

/// Writes a copy of the application's template to `file`. The copy takes the code of each function
/// from `packages` (by binary), and all other local files from where they are. Its parameters have
/// `parameters` as defaults, so that tools that do not get the values (`sam local`) use those of
/// the deployment. And it publishes no versions: an alias would keep the old version when only the
/// code is replaced.
///
/// Nested templates with functions are copied too, to files beside this one.
pub(crate) fn package(
    templates: &Templates,
    file: &Path,
    packages: &BTreeMap<String, PathBuf>,
    parameters: &BTreeMap<String, String>,
) -> Result<()> {
    let copies = Copies {
        templates,
        functions: templates.functions()?,
        packages,
    };
    copies.write("", templates.main(), file, parameters)
}

struct Copies<'a> {
    templates: &'a Templates,
    functions: Vec<Function>,
    packages: &'a BTreeMap<String, PathBuf>,
}

impl Copies<'_> {
    /// `stacks` is the path of the stack whose template `from` is, with a slash at its end.
    fn write(
        &self,
        stacks: &str,
        from: &str,
        to: &Path,
        parameters: &BTreeMap<String, String>,
    ) -> Result<()> {
        let Some(template) = self.templates.get(from) else {
            bail!("cannot read {from}: it is not there");
        };
        let path = templates::joined(self.templates.root(), from);
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut document = packaged(template, folder, self.packages, parameters)?;
        for nested in self.templates.nested(from) {
            let id = nested.logical_id;
            let within = format!("{stacks}{id}/");
            if !(self.functions.iter()).any(|it| it.logical_id.starts_with(&within)) {
                continue;
            }
            let copy = to.with_extension(format!("{id}.json"));
            self.write(&within, &nested.file, &copy, &BTreeMap::new())
                .with_context(|| format!("cannot package {}", nested.file))?;
            document["Resources"][id]["Properties"][nested.property] = json!(copy);
        }
        private::write(to, serde_json::to_vec_pretty(&document)?)
    }
}

/// `folder` is the one that the template's paths are relative to.
fn packaged(
    template: &Node,
    folder: &Path,
    packages: &BTreeMap<String, PathBuf>,
    parameters: &BTreeMap<String, String>,
) -> Result<Value> {
    let mut document = Value::from(template);
    for (name, value) in parameters {
        // Indexing would add a missing parameter.
        if let Some(declared) = document.pointer_mut(&format!("/Parameters/{name}")) {
            declared["Default"] = json!(value);
        }
    }
    let globals = document.pointer_mut("/Globals/Function");
    if let Some(globals) = globals.and_then(Value::as_object_mut) {
        globals.retain(|name, _| !VERSIONS.contains(&name.as_str()));
    }
    for (logical_id, declared) in templates::resources(template) {
        let properties = document["Resources"][logical_id].get_mut("Properties");
        let Some(properties) = properties.and_then(Value::as_object_mut) else {
            continue;
        };
        for name in LOCAL_PATHS {
            if let Some(path) = properties.get(name).and_then(Value::as_str)
                && !path.contains("://")
            {
                let path = folder.join(path);
                if path.exists() {
                    properties[name] = json!(path);
                }
            }
        }
        if let Some(binary) = templates::binary(declared) {
            let package = packages
                .get(binary)
                .with_context(|| format!("{logical_id}: `{binary}` was not built"))?;
            properties.insert("CodeUri".to_owned(), json!(package));
            properties.retain(|name, _| !VERSIONS.contains(&name.as_str()));
        }
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use std::fs;

    use super::*;
    use crate::application::{project::Project, templates::tests::write};

    const TEMPLATE: &str = "
AWSTemplateFormatVersion: '2010-09-09'
Transform: AWS::Serverless-2016-10-31
Parameters:
  Stage: {Type: String, Default: dev}
Globals:
  Function: {Timeout: 3, DeploymentPreference: {Enabled: true}}
Resources:
  Orders:
    Type: AWS::Serverless::Application
    Properties:
      Location: infra/queue.yaml
  Remote:
    Type: AWS::CloudFormation::Stack
    Properties:
      TemplateURL: https://example.com/queue.yaml
  PlaceOrder:
    Type: AWS::Serverless::Function
    Metadata:
      BuildMethod: rust-cargolambda
      BuildProperties: {Binary: place-order}
    Properties:
      CodeUri: .
      FunctionName: !Sub ${AWS::StackName}-place-order
      AutoPublishAlias: live
      Role: !GetAtt Roles.Outputs.PlaceOrder
      Environment:
        Variables:
          URL: !If [HasEndpoint, !Ref EndpointUrl, !Ref AWS::NoValue]
          VERSION: 2012-10-17
  Other:
    Type: AWS::Serverless::Function
    Properties: {InlineCode: 'x'}
";

    fn packages() -> BTreeMap<String, PathBuf> {
        BTreeMap::from([("place-order".to_owned(), PathBuf::from("/z/p.zip"))])
    }

    fn packaged(root: &Path) -> Result<Value> {
        let parameters = BTreeMap::from([("Stage".to_owned(), "local".to_owned())]);
        let template = Node::parse("template.yaml", TEMPLATE)?;
        super::packaged(&template, root, &packages(), &parameters)
    }

    #[test]
    fn short_forms_become_long_forms() {
        let document = packaged(Path::new("/nowhere")).unwrap();
        let properties = &document["Resources"]["PlaceOrder"]["Properties"];
        assert_eq!(
            properties["FunctionName"],
            json!({"Fn::Sub": "${AWS::StackName}-place-order"})
        );
        assert_eq!(
            properties["Role"],
            json!({"Fn::GetAtt": ["Roles", "Outputs.PlaceOrder"]})
        );
        let variables = &properties["Environment"]["Variables"];
        assert_eq!(
            variables["URL"],
            json!({"Fn::If": ["HasEndpoint", {"Ref": "EndpointUrl"}, {"Ref": "AWS::NoValue"}]})
        );
        assert_eq!(variables["VERSION"], "2012-10-17");
        assert_eq!(document["Parameters"]["Stage"]["Default"], "local");
    }

    #[test]
    fn code_comes_from_the_package_and_local_paths_stay_right() {
        let root = tempfile::tempdir().unwrap();
        let nested = write(root.path(), "infra/queue.yaml", "Resources: {}");

        let document = packaged(root.path()).unwrap();
        let resources = &document["Resources"];
        assert_eq!(resources["PlaceOrder"]["Properties"]["CodeUri"], "/z/p.zip");
        assert_eq!(
            resources["PlaceOrder"]["Properties"]["AutoPublishAlias"],
            json!(null)
        );
        assert_eq!(document["Globals"]["Function"], json!({"Timeout": 3}));
        assert_eq!(resources["Orders"]["Properties"]["Location"], json!(nested));
        assert_eq!(
            resources["Remote"]["Properties"]["TemplateURL"],
            "https://example.com/queue.yaml"
        );
        assert!(resources["Other"]["Properties"].get("CodeUri").is_none());
    }

    const STACK: &str =
        "Resources: {A: {Type: AWS::CloudFormation::Stack, Properties: {TemplateURL: x}}}";

    #[test]
    fn functions_of_nested_templates_are_packaged_too() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(
            root,
            "template.yaml",
            &STACK.replace("x", "apps/outer.yaml"),
        );
        write(
            root,
            "apps/outer.yaml",
            &STACK.replace("x", "inner/template.yaml"),
        );
        write(root, "apps/inner/template.yaml", TEMPLATE);
        let templates = Templates::read(&Project::find(root).unwrap()).unwrap();
        let [function] = &templates.functions().unwrap()[..] else {
            panic!("one function");
        };
        assert_eq!(function.logical_id, "A/A/PlaceOrder");
        assert_eq!(
            templates.binaries(),
            BTreeSet::from(["place-order".to_owned()])
        );

        let parameters = BTreeMap::from([("Stage".to_owned(), "local".to_owned())]);
        let file = root.join("out.json");
        package(&templates, &file, &packages(), &parameters).unwrap();
        let read =
            |file: &Path| -> Value { serde_json::from_slice(&fs::read(file).unwrap()).unwrap() };
        let (outer, inner) = (root.join("out.A.json"), root.join("out.A.A.json"));
        assert_eq!(
            read(&file)["Resources"]["A"]["Properties"]["TemplateURL"],
            json!(outer)
        );
        assert_eq!(
            read(&outer)["Resources"]["A"]["Properties"]["TemplateURL"],
            json!(inner)
        );
        let inner = read(&inner);
        assert_eq!(
            inner["Resources"]["PlaceOrder"]["Properties"]["CodeUri"],
            "/z/p.zip"
        );
        assert_eq!(read(&outer).get("Globals"), None);
        // The parent stack sets its parameters.
        assert_eq!(inner["Parameters"]["Stage"]["Default"], "dev");
    }

    #[test]
    fn a_function_without_its_package_is_an_error() {
        let template = Node::parse("template.yaml", TEMPLATE).unwrap();
        let (packages, parameters) = (BTreeMap::new(), BTreeMap::new());
        let error = super::packaged(&template, Path::new("/"), &packages, &parameters).unwrap_err();
        assert_eq!(error.to_string(), "PlaceOrder: `place-order` was not built");
    }
}
