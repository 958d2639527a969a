//! The SAM template as the command needs it: its functions, and a copy that deploys what was just built.
//!
//! The copy is JSON with CloudFormation's long forms (`{"Ref": …}` for `!Ref`), which every tool reads, so that
//! no YAML has to be written.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

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

/// A parsed template.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    document: Value,
}

/// A function of the template that the command can build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    /// The name of its resource.
    pub(crate) logical_id: String,
    /// The cargo binary that becomes its `bootstrap`.
    pub(crate) binary: String,
}

impl Template {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("cannot read {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let yaml: yaml_serde::Value = yaml_serde::from_str(text)?;
        let document = to_json(yaml)?;
        if !document.get("Resources").is_some_and(Value::is_object) {
            bail!("it has no Resources");
        }
        Ok(Self { document })
    }

    /// The functions with `Metadata.BuildProperties.Binary`, in the order of their names.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let mut functions: Vec<Function> = self
            .resources()
            .filter(|(_, resource)| resource["Type"] == "AWS::Serverless::Function")
            .filter_map(|(logical_id, resource)| {
                let binary = resource["Metadata"]["BuildProperties"]["Binary"].as_str()?;
                Some(Function {
                    logical_id: logical_id.clone(),
                    binary: binary.to_owned(),
                })
            })
            .collect();
        functions.sort_by(|a, b| a.logical_id.cmp(&b.logical_id));
        functions
    }

    /// Whether the template takes a parameter of this name.
    pub(crate) fn has_parameter(&self, name: &str) -> bool {
        self.document["Parameters"].get(name).is_some()
    }

    /// A copy that takes the code of each function from `packages` (by binary), and everything else that is
    /// local from where it is now, relative to `root`. It has `parameters` for defaults, so that tools which
    /// are not told of them (`sam local`) see what was deployed. And it publishes no versions: an alias would
    /// stay with the one before when nothing but the code is replaced.
    pub(crate) fn packaged(
        &self,
        root: &Path,
        packages: &BTreeMap<String, PathBuf>,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Value> {
        let mut document = self.document.clone();
        for (name, value) in parameters {
            if let Some(parameter) = document["Parameters"].get_mut(name) {
                parameter["Default"] = json!(value);
            }
        }
        if let Some(globals) = document["Globals"]["Function"].as_object_mut() {
            globals.retain(|name, _| !VERSIONS.contains(&name.as_str()));
        }
        let Some(resources) = document["Resources"].as_object_mut() else {
            bail!("the template has no Resources");
        };
        for (logical_id, resource) in resources {
            let binary = resource["Metadata"]["BuildProperties"]["Binary"]
                .as_str()
                .map(str::to_owned);
            let Some(properties) = resource
                .get_mut("Properties")
                .and_then(Value::as_object_mut)
            else {
                continue;
            };
            for name in LOCAL_PATHS {
                if let Some(path) = properties.get(name).and_then(Value::as_str)
                    && !path.contains("://")
                {
                    let path = root.join(path);
                    if path.exists() {
                        properties[name] = json!(path);
                    }
                }
            }
            if let Some(binary) = binary {
                let package = packages
                    .get(&binary)
                    .with_context(|| format!("{logical_id}: `{binary}` was not built"))?;
                properties.insert("CodeUri".to_owned(), json!(package));
                properties.retain(|name, _| !VERSIONS.contains(&name.as_str()));
            }
        }
        Ok(document)
    }

    /// The files of the local templates that it nests, and of those that they nest; `folder` is the
    /// template's own.
    pub(crate) fn nested(&self, folder: &Path) -> BTreeSet<PathBuf> {
        let mut files = BTreeSet::new();
        self.add_nested(folder, &mut files);
        files
    }

    fn add_nested(&self, folder: &Path, files: &mut BTreeSet<PathBuf>) {
        for (_, resource) in self.resources() {
            let properties = &resource["Properties"];
            let path = properties["TemplateURL"]
                .as_str()
                .or(properties["Location"].as_str());
            let Some(file) = path.map(|path| folder.join(path)) else {
                continue;
            };
            // What cannot be read now is somewhere else, or a mistake that the deployment will tell of.
            if file.is_file()
                && files.insert(file.clone())
                && let (Ok(template), Some(folder)) = (Self::read(&file), file.parent())
            {
                template.add_nested(folder, files);
            }
        }
    }

    fn resources(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.document["Resources"].as_object().into_iter().flatten()
    }
}

/// YAML with CloudFormation's tags as JSON.
fn to_json(yaml: yaml_serde::Value) -> Result<Value> {
    use yaml_serde::Value as Yaml;
    Ok(match yaml {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => Value::Bool(value),
        Yaml::Number(number) => serde_json::to_value(number)?,
        Yaml::String(text) => Value::String(text),
        Yaml::Sequence(items) => items.into_iter().map(to_json).collect::<Result<_>>()?,
        Yaml::Mapping(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                map.insert(to_key(key)?, to_json(value)?);
            }
            Value::Object(map)
        }
        Yaml::Tagged(tagged) => {
            let tag = tagged.tag.to_string();
            intrinsic(tag.trim_start_matches('!'), to_json(tagged.value)?)
        }
    })
}

/// The long form of an intrinsic function.
fn intrinsic(tag: &str, value: Value) -> Value {
    match (tag, value) {
        ("Ref" | "Condition", value) => json!({ tag: value }),
        // Only the first dot separates: what follows can be the output of a nested stack.
        ("GetAtt", Value::String(path)) => match path.split_once('.') {
            Some((resource, attribute)) => json!({ "Fn::GetAtt": [resource, attribute] }),
            None => json!({ "Fn::GetAtt": path }),
        },
        (tag, value) => json!({ format!("Fn::{tag}"): value }),
    }
}

/// JSON has only strings as keys; mappings in templates also use numbers.
fn to_key(yaml: yaml_serde::Value) -> Result<String> {
    use yaml_serde::Value as Yaml;
    match yaml {
        Yaml::String(text) => Ok(text),
        Yaml::Number(number) => Ok(number.to_string()),
        Yaml::Bool(value) => Ok(value.to_string()),
        other => bail!("{other:?} cannot be a key"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn packaged(root: &Path) -> Result<Value> {
        let packages = BTreeMap::from([("place-order".to_owned(), PathBuf::from("/z/p.zip"))]);
        let parameters = BTreeMap::from([("Stage".to_owned(), "local".to_owned())]);
        Template::parse(TEMPLATE)?.packaged(root, &packages, &parameters)
    }

    #[test]
    fn only_functions_with_a_binary_are_built() {
        let template = Template::parse(TEMPLATE).unwrap();
        assert_eq!(
            template.functions(),
            [Function {
                logical_id: "PlaceOrder".to_owned(),
                binary: "place-order".to_owned()
            }]
        );
        assert!(template.has_parameter("Stage"));
        assert!(!template.has_parameter("Architecture"));
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
        std::fs::create_dir(root.path().join("infra")).unwrap();
        let nested = root.path().join("infra/queue.yaml");
        std::fs::write(&nested, "Resources: {}").unwrap();

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

    #[test]
    fn nested_templates_are_found_at_any_depth() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        let queue = write(
            "infra/queue.yaml",
            "Resources: {A: {Type: AWS::CloudFormation::Stack, Properties: {TemplateURL: alarms/a.yaml}}}",
        );
        // One that nests itself is a mistake, and no reason to look for ever.
        let alarms = write(
            "infra/alarms/a.yaml",
            "Resources: {A: {Type: AWS::CloudFormation::Stack, Properties: {TemplateURL: a.yaml}}}",
        );
        let nested = Template::parse(TEMPLATE).unwrap().nested(root.path());
        assert_eq!(nested, BTreeSet::from([alarms, queue]));
    }

    #[test]
    fn a_function_without_its_package_is_an_error() {
        let error = Template::parse(TEMPLATE)
            .unwrap()
            .packaged(Path::new("/"), &BTreeMap::new(), &BTreeMap::new())
            .unwrap_err();
        assert_eq!(error.to_string(), "PlaceOrder: `place-order` was not built");
    }

    #[test]
    fn what_is_no_template_is_an_error() {
        assert!(Template::parse("a: [").is_err());
        assert!(Template::parse("a: 1").is_err());
    }
}
