//! The SAM template as the command needs it: its functions, and a copy that deploys what was just built.
//!
//! Functions of nested templates count as well; a stack that is not here is somebody else's.
//!
//! The copy is JSON with CloudFormation's long forms (`{"Ref": …}` for `!Ref`), which every tool reads, so that
//! no YAML has to be written.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
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

/// Of these, those that name a template.
const NESTED: [&str; 2] = ["Location", "TemplateURL"];

/// The properties of a function that publish its versions and shift traffic between them.
const VERSIONS: [&str; 2] = ["AutoPublishAlias", "DeploymentPreference"];

/// A parsed template, with those that it nests from this machine.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    document: Value,
    /// Paths in it are relative to this one.
    folder: PathBuf,
    nested: Vec<Nested>,
}

#[derive(Debug, Clone)]
struct Nested {
    /// The name of the stack's resource.
    logical_id: String,
    /// The property that has the path.
    property: &'static str,
    file: PathBuf,
    template: Template,
}

/// A function of the template that the command can build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    /// The name of its resource, after those of the stacks that it is in: `Orders/Worker`.
    pub(crate) logical_id: String,
    /// The cargo binary that becomes its `bootstrap`.
    pub(crate) binary: String,
}

impl Template {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        Self::read_below(path, &mut Vec::new())
    }

    /// `above` are the templates that this one is nested in, from the outermost.
    fn read_below(path: &Path, above: &mut Vec<PathBuf>) -> Result<Self> {
        let cannot_read = || format!("cannot read {}", path.display());
        let text = fs::read_to_string(path).with_context(cannot_read)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut template = Self::parse(&text, folder).with_context(cannot_read)?;
        above.push(path.canonicalize().with_context(cannot_read)?);
        template.nested = template.read_nested(above)?;
        above.pop();
        Ok(template)
    }

    fn read_nested(&self, above: &mut Vec<PathBuf>) -> Result<Vec<Nested>> {
        let mut all = Vec::new();
        for (logical_id, resource) in self.resources() {
            for property in NESTED {
                let path = resource["Properties"][property].as_str();
                let Some(file) = path.map(|path| joined(&self.folder, path)) else {
                    continue;
                };
                // What is not here is somewhere else, or a mistake that the deployment will tell of.
                let Ok(canonical) = file.canonicalize() else {
                    continue;
                };
                if above.contains(&canonical) {
                    bail!("{logical_id}: {} nests itself", file.display());
                }
                all.push(Nested {
                    logical_id: logical_id.clone(),
                    property,
                    template: Self::read_below(&file, above)?,
                    file,
                });
            }
        }
        Ok(all)
    }

    fn parse(text: &str, folder: &Path) -> Result<Self> {
        let yaml: yaml_serde::Value = yaml_serde::from_str(text)?;
        let document = to_json(yaml)?;
        if !document.get("Resources").is_some_and(Value::is_object) {
            bail!("it has no Resources");
        }
        Ok(Self {
            document,
            folder: folder.to_owned(),
            nested: Vec::new(),
        })
    }

    /// The functions with `Metadata.BuildProperties.Binary`, here and in nested templates, in the order of
    /// their names.
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
        for nested in &self.nested {
            functions.extend(nested.template.functions().into_iter().map(|it| Function {
                logical_id: format!("{}/{}", nested.logical_id, it.logical_id),
                ..it
            }));
        }
        functions.sort_by(|a, b| a.logical_id.cmp(&b.logical_id));
        functions
    }

    /// The binaries that the functions are made from.
    pub(crate) fn binaries(&self) -> BTreeSet<String> {
        let functions = self.functions().into_iter();
        functions.map(|function| function.binary).collect()
    }

    /// Whether the template takes a parameter of this name.
    pub(crate) fn has_parameter(&self, name: &str) -> bool {
        self.document["Parameters"].get(name).is_some()
    }

    /// Writes a copy that takes the code of each function from `packages` (by binary), and everything else that
    /// is local from where it is now. It has `parameters` for defaults, so that tools which are not told of
    /// them (`sam local`) see what was deployed. And it publishes no versions: an alias would stay with the one
    /// before when nothing but the code is replaced.
    ///
    /// Nested templates with functions are copied too, to files beside this one.
    pub(crate) fn package(
        &self,
        file: &Path,
        packages: &BTreeMap<String, PathBuf>,
        parameters: &BTreeMap<String, String>,
    ) -> Result<()> {
        let mut document = self.packaged(packages, parameters)?;
        for nested in &self.nested {
            if nested.template.functions().is_empty() {
                continue;
            }
            let copy = file.with_extension(format!("{}.json", nested.logical_id));
            (nested.template)
                .package(&copy, packages, &BTreeMap::new())
                .with_context(|| format!("cannot package {}", nested.file.display()))?;
            document["Resources"][&nested.logical_id]["Properties"][nested.property] = json!(copy);
        }
        fs::write(file, serde_json::to_vec_pretty(&document)?)
            .with_context(|| format!("cannot write {}", file.display()))
    }

    fn packaged(
        &self,
        packages: &BTreeMap<String, PathBuf>,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Value> {
        let mut document = self.document.clone();
        // Indexing would add what is not there.
        if let Some(declared) = document.get_mut("Parameters") {
            for (name, value) in parameters {
                if let Some(parameter) = declared.get_mut(name) {
                    parameter["Default"] = json!(value);
                }
            }
        }
        let globals = document.pointer_mut("/Globals/Function");
        if let Some(globals) = globals.and_then(Value::as_object_mut) {
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
                    let path = self.folder.join(path);
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

    /// The files of the local templates that it nests, and of those that they nest.
    pub(crate) fn nested(&self) -> BTreeSet<PathBuf> {
        let mut files = BTreeSet::new();
        for nested in &self.nested {
            files.insert(nested.file.clone());
            files.extend(nested.template.nested());
        }
        files
    }

    fn resources(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.document["Resources"].as_object().into_iter().flatten()
    }
}

/// As whoever watches the file calls it: without `..`.
fn joined(folder: &Path, path: &str) -> PathBuf {
    let mut joined = folder.to_owned();
    for part in Path::new(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if joined.file_name().is_some() => drop(joined.pop()),
            other => joined.push(other),
        }
    }
    joined
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

    fn packages() -> BTreeMap<String, PathBuf> {
        BTreeMap::from([("place-order".to_owned(), PathBuf::from("/z/p.zip"))])
    }

    fn packaged(root: &Path) -> Result<Value> {
        let parameters = BTreeMap::from([("Stage".to_owned(), "local".to_owned())]);
        Template::parse(TEMPLATE, root)?.packaged(&packages(), &parameters)
    }

    fn write(root: &Path, name: &str, text: &str) -> PathBuf {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn only_functions_with_a_binary_are_built() {
        let template = Template::parse(TEMPLATE, Path::new("")).unwrap();
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
    fn nested_templates_are_found_at_any_depth() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let main = write(root, "template.yaml", TEMPLATE);
        let queue = write(
            root,
            "infra/queue.yaml",
            &STACK.replace("x", "alarms/a.yaml"),
        );
        let alarms = write(
            root,
            "infra/alarms/a.yaml",
            &STACK.replace("x", "https://example.com/x"),
        );
        let nested = Template::read(&main).unwrap().nested();
        assert_eq!(
            nested,
            BTreeSet::from([root.join("infra/alarms/a.yaml"), queue.clone()])
        );
        fs::write(&alarms, STACK.replace("x", "../queue.yaml")).unwrap();
        let error = Template::read(&main).unwrap_err().to_string();
        assert!(error.ends_with("queue.yaml nests itself"), "{error}");
        // Somebody else's, or the deployment says that it is missing.
        fs::remove_file(&queue).unwrap();
        assert_eq!(Template::read(&main).unwrap().nested(), BTreeSet::new());
    }

    #[test]
    fn functions_of_nested_templates_are_packaged_too() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let main = write(
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
        let template = Template::read(&main).unwrap();
        let [function] = &template.functions()[..] else {
            panic!("one function");
        };
        assert_eq!(function.logical_id, "A/A/PlaceOrder");
        assert_eq!(
            template.binaries(),
            BTreeSet::from(["place-order".to_owned()])
        );

        let parameters = BTreeMap::from([("Stage".to_owned(), "local".to_owned())]);
        let file = root.join("out.json");
        template.package(&file, &packages(), &parameters).unwrap();
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
        // Its parameters are its parent's to give.
        assert_eq!(inner["Parameters"]["Stage"]["Default"], "dev");
    }

    #[test]
    fn a_function_without_its_package_is_an_error() {
        let error = Template::parse(TEMPLATE, Path::new("/"))
            .unwrap()
            .packaged(&BTreeMap::new(), &BTreeMap::new())
            .unwrap_err();
        assert_eq!(error.to_string(), "PlaceOrder: `place-order` was not built");
    }

    #[test]
    fn what_is_no_template_is_an_error() {
        assert!(Template::parse("a: [", Path::new("")).is_err());
        assert!(Template::parse("a: 1", Path::new("")).is_err());
    }
}
