//! The templates, with CloudFormation's short forms made long.

use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The template and those that it nests.
#[derive(Clone, Debug)]
pub(crate) struct Project {
    main: Value,
    /// By path, as `TemplateURL` has it.
    nested: BTreeMap<String, Value>,
}

/// A resource with its name and the template it is in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resource<'a> {
    pub(crate) template: &'a Value,
    pub(crate) name: &'a str,
    pub(crate) value: &'a Value,
}

impl Resource<'_> {
    pub(crate) fn properties(&self) -> &Value {
        &self.value["Properties"]
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

impl Project {
    pub(crate) fn read() -> Self {
        let nested = fs::read_dir(root().join("infra")).unwrap();
        let nested = nested
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
            .map(|path| {
                let name = path.file_name().unwrap().to_string_lossy();
                (format!("infra/{name}"), parse(&path))
            });
        Self {
            main: parse(&root().join("template.yaml")),
            nested: nested.collect(),
        }
    }

    pub(crate) fn main(&self) -> &Value {
        &self.main
    }

    pub(crate) fn functions(&self) -> impl Iterator<Item = Resource<'_>> {
        of_type(&self.main, "AWS::Serverless::Function")
    }

    /// The main template's resources of a type.
    pub(crate) fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = Resource<'a>> {
        of_type(&self.main, kind)
    }

    /// The resources of a type in any template.
    pub(crate) fn all_of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = Resource<'a>> {
        let templates = std::iter::once(&self.main).chain(self.nested.values());
        templates.flat_map(move |template| of_type(template, kind))
    }

    pub(crate) fn queues(&self) -> impl Iterator<Item = Resource<'_>> {
        self.all_of_type("AWS::SQS::Queue")
    }

    /// The nested stack of this name, and its template.
    pub(crate) fn stack(&self, name: &str) -> Option<(&Value, &Value)> {
        let stack = &self.main["Resources"][name];
        let template = self
            .nested
            .get(stack["Properties"]["TemplateURL"].as_str()?)?;
        Some((stack, template))
    }

    /// Returns a function's property, its own or the global one.
    pub(crate) fn property<'a>(&'a self, function: &Resource<'a>, name: &str) -> &'a Value {
        match &function.value["Properties"][name] {
            Value::Null => &self.main["Globals"]["Function"][name],
            own => own,
        }
    }

    /// The variable that a function is given.
    pub(crate) fn variable<'a>(&'a self, function: &Resource<'a>, name: &str) -> &'a Value {
        match &function.value["Properties"]["Environment"]["Variables"][name] {
            Value::Null => &self.main["Globals"]["Function"]["Environment"]["Variables"][name],
            own => own,
        }
    }
}

/// The changes that make mistakes.
impl Project {
    pub(crate) fn document(&mut self) -> &mut Value {
        &mut self.main
    }

    pub(crate) fn resources(&mut self) -> &mut Map<String, Value> {
        self.main["Resources"].as_object_mut().unwrap()
    }

    pub(crate) fn function(&mut self, name: &str) -> &mut Value {
        let function = &mut self.resources()[name];
        assert_eq!(function["Type"], "AWS::Serverless::Function");
        function
    }

    pub(crate) fn properties(&mut self, name: &str) -> &mut Map<String, Value> {
        self.function(name)["Properties"].as_object_mut().unwrap()
    }

    pub(crate) fn variables(&mut self, name: &str) -> &mut Map<String, Value> {
        let variables = &mut self.properties(name)["Environment"]["Variables"];
        variables.as_object_mut().unwrap()
    }

    pub(crate) fn event(&mut self, function: &str) -> &mut Value {
        let events = self.properties(function)["Events"].as_object_mut().unwrap();
        &mut events.values_mut().next().unwrap()["Properties"]
    }

    pub(crate) fn target(&mut self, rule: &str) -> &mut Map<String, Value> {
        let target = &mut self.resources()[rule]["Properties"]["Targets"][0];
        target.as_object_mut().unwrap()
    }

    pub(crate) fn nested(&mut self, name: &str) -> &mut Value {
        self.nested.get_mut(&format!("infra/{name}.yaml")).unwrap()
    }

    pub(crate) fn queue(&mut self, template: &str, name: &str) -> &mut Map<String, Value> {
        let queue = &mut self.nested(template)["Resources"][name]["Properties"];
        queue.as_object_mut().unwrap()
    }
}

fn of_type<'a>(template: &'a Value, kind: &'a str) -> impl Iterator<Item = Resource<'a>> {
    let resources = template["Resources"].as_object().into_iter().flatten();
    resources
        .filter(move |(_, value)| value["Type"] == kind)
        .map(move |(name, value)| Resource {
            template,
            name,
            value,
        })
}

/// `!Ref name`
pub(crate) fn is_ref(value: &Value, name: &str) -> bool {
    *value == json!({ "Ref": name })
}

/// `!GetAtt resource.attribute`
pub(crate) fn get_att(value: &Value) -> Option<(&str, &str)> {
    let path = value["Fn::GetAtt"].as_array()?;
    Some((path.first()?.as_str()?, path.get(1)?.as_str()?))
}

/// Every value in a tree, from the outside in.
pub(crate) fn walk<'a>(value: &'a Value, visit: &mut dyn FnMut(&'a Value)) {
    visit(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        Value::Object(fields) => fields.values().for_each(|field| walk(field, visit)),
        _ => {}
    }
}

/// One value or a list of them.
pub(crate) fn list(value: &Value) -> &[Value] {
    value
        .as_array()
        .map_or(std::slice::from_ref(value), Vec::as_slice)
}

fn parse(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    let yaml =
        yaml_serde::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    long_form(yaml)
}

fn long_form(yaml: yaml_serde::Value) -> Value {
    use yaml_serde::Value as Yaml;
    match yaml {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => value.into(),
        Yaml::Number(number) => serde_json::to_value(number).unwrap(),
        Yaml::String(text) => text.into(),
        Yaml::Sequence(items) => items.into_iter().map(long_form).collect(),
        Yaml::Mapping(fields) => fields
            .into_iter()
            .map(|(name, value)| (key(name), long_form(value)))
            .collect(),
        Yaml::Tagged(tagged) => {
            let tag = tagged.tag.to_string();
            let value = long_form(tagged.value);
            match (tag.trim_start_matches('!'), value.as_str()) {
                (tag @ ("Ref" | "Condition"), _) => json!({ tag: value }),
                ("GetAtt", Some(path)) => {
                    let (resource, attribute) = path.split_once('.').unwrap();
                    json!({ "Fn::GetAtt": [resource, attribute] })
                }
                (tag, _) => json!({ format!("Fn::{tag}"): value }),
            }
        }
    }
}

fn key(yaml: yaml_serde::Value) -> String {
    match long_form(yaml) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
