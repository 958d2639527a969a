//! The application's template and those that it nests, as they are written.
//!
//! A template that is not in the project belongs to another one, or is missing, which the deployment reports.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
    rc::Rc,
};

use anyhow::{Result, bail};

use super::{project::Project, yaml::Node};

/// How many templates an application may have.
const MAX_FILES: usize = 500;
/// How many stacks its templates may nest in each other, all together.
const MAX_STACKS: usize = 1_000;

/// The parsed templates of an application.
#[derive(Debug, Clone)]
pub(crate) struct Templates {
    /// The paths of the files are relative to it.
    root: PathBuf,
    main: String,
    files: BTreeMap<String, Rc<Node>>,
}

/// A function of the templates that the command can build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    /// The name of its resource, after those of the stacks that it is in: `Orders/Worker`.
    pub(crate) logical_id: String,
    /// The cargo binary that becomes its `bootstrap`.
    pub(crate) binary: String,
}

/// A stack in a template, whose own template is in the project.
pub(super) struct Nested<'a> {
    pub(super) logical_id: &'a str,
    /// The property that has the path.
    pub(super) property: &'static str,
    pub(super) file: String,
}

impl Templates {
    pub(crate) fn read(project: &Project) -> Result<Self> {
        Self::read_by(project.root(), &project.main(), |file| project.text(file))
    }

    /// Reads the templates with `read`, which gets the paths below `root`.
    pub(crate) fn read_by(
        root: &Path,
        main: &str,
        read: impl Fn(&str) -> Result<Option<String>>,
    ) -> Result<Self> {
        let mut templates = Self {
            root: root.to_owned(),
            main: main.to_owned(),
            files: BTreeMap::new(),
        };
        let mut open = vec![main.to_owned()];
        while let Some(file) = open.pop() {
            if templates.files.contains_key(&file) {
                continue;
            }
            if is_outside(&file) {
                continue;
            }
            let Some(text) = read(&file)? else {
                continue;
            };
            if templates.files.len() == MAX_FILES {
                bail!("{main} nests more than {MAX_FILES} templates");
            }
            let template = Node::parse(&file, &text)?;
            open.extend(stacks(&template, &file).map(|nested| nested.file));
            templates.files.insert(file, Rc::new(template));
        }
        Ok(templates)
    }

    /// The folder that the paths are relative to.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The path of the application's own template.
    pub(crate) fn main(&self) -> &str {
        &self.main
    }

    pub(super) fn get(&self, file: &str) -> Option<&Rc<Node>> {
        self.files.get(file)
    }

    /// Whether a function has this property, of its own or from `Globals`.
    pub(crate) fn have(&self, property: &str) -> bool {
        self.all().any(|template| {
            let globals = template.at(&["Globals", "Function", property]);
            globals.is_some()
                || resources(template).any(|(_, declared)| {
                    kind_of(declared) == "AWS::Serverless::Function"
                        && declared.at(&["Properties", property]).is_some()
                })
        })
    }

    /// The path of every template that was read.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Every template that was read.
    pub(super) fn all(&self) -> impl Iterator<Item = &Node> {
        self.files.values().map(|template| &**template)
    }

    /// Every template that was read, with its path from the root of the file system.
    pub(crate) fn paths(&self) -> BTreeSet<PathBuf> {
        let files = self.files.keys();
        files.map(|file| joined(&self.root, file)).collect()
    }

    /// The stacks of a template whose templates are in the project.
    pub(super) fn nested<'a>(&'a self, file: &'a str) -> impl Iterator<Item = Nested<'a>> {
        let template = self.files.get(file).into_iter();
        template
            .flat_map(move |template| stacks(template, file))
            .filter(|nested| self.files.contains_key(&nested.file))
    }

    /// The functions with `Metadata.BuildProperties.Binary`, by their logical ids. Fails if a template nests itself.
    pub(crate) fn functions(&self) -> Result<Vec<Function>> {
        let mut functions = Vec::new();
        let mut walk = Walk::default();
        self.collect_functions("", &self.main, &mut walk, &mut functions)?;
        functions.sort_by(|a, b| a.logical_id.cmp(&b.logical_id));
        Ok(functions)
    }

    /// `stacks` is the path of the stack whose template this is, with a slash at its end.
    fn collect_functions(
        &self,
        stacks: &str,
        file: &str,
        walk: &mut Walk,
        into: &mut Vec<Function>,
    ) -> Result<()> {
        let Some(template) = self.files.get(file) else {
            bail!("cannot read {file}: it is not there");
        };
        if template.get("Resources").is_none_or(|it| !it.is_map()) {
            bail!("{file} is not a template: it has no `Resources`");
        }
        into.extend(binaries_of(template).map(|(id, binary)| Function {
            logical_id: format!("{stacks}{id}"),
            binary: binary.to_owned(),
        }));
        walk.stacks += 1;
        if walk.stacks > MAX_STACKS {
            bail!("{} nests more than {MAX_STACKS} stacks", self.main);
        }
        walk.above.push(file.to_owned());
        for nested in self.nested(file) {
            let Nested {
                logical_id, file, ..
            } = &nested;
            if walk.above.contains(file) {
                bail!("{logical_id}: {file} nests itself: remove the nested stack");
            }
            self.collect_functions(&format!("{stacks}{logical_id}/"), file, walk, into)?;
        }
        walk.above.pop();
        Ok(())
    }

    /// The binaries that the functions are made from.
    pub(crate) fn binaries(&self) -> BTreeSet<String> {
        let files = self.files.values();
        let binaries = files.flat_map(|template| binaries_of(template));
        binaries.map(|(_, binary)| binary.to_owned()).collect()
    }

    /// The parameters of the application's own template, as they are declared.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = (&str, &Node)> {
        let main = self.files.get(&self.main);
        let parameters = main.and_then(|template| template.get("Parameters"));
        parameters.into_iter().flat_map(Node::entries)
    }

    /// Whether the application takes a parameter of this name.
    pub(crate) fn has_parameter(&self, name: &str) -> bool {
        self.parameters().any(|(own, _)| own == name)
    }
}

/// Where [`Templates::collect_functions`] is.
#[derive(Default)]
struct Walk {
    /// The templates that the current one is nested in.
    above: Vec<String>,
    /// How many there were so far.
    stacks: usize,
}

/// Whether the path of a template leads out of the project. Nothing there is read.
pub(super) fn is_outside(file: &str) -> bool {
    let mut parts = Path::new(file).components();
    !parts.all(|part| matches!(part, Component::Normal(_)))
}

/// The property from which a stack of this type has its template.
fn location_property(kind: &str) -> Option<&'static str> {
    match kind {
        "AWS::CloudFormation::Stack" => Some("TemplateURL"),
        "AWS::Serverless::Application" => Some("Location"),
        _ => None,
    }
}

/// Where a nested stack has its template from.
pub(super) fn location(declared: &Node) -> Option<&Node> {
    declared.at(&["Properties", location_property(kind_of(declared))?])
}

/// The type of a resource.
pub(super) fn kind_of(declared: &Node) -> &str {
    declared.get("Type").and_then(Node::text).unwrap_or("")
}

/// The resources of a template.
pub(super) fn resources(template: &Node) -> impl Iterator<Item = (&str, &Node)> {
    let resources = template.get("Resources");
    resources.into_iter().flat_map(Node::entries)
}

/// Returns the stacks of a template that have a path, even if the file does not exist.
fn stacks<'a>(template: &'a Node, file: &'a str) -> impl Iterator<Item = Nested<'a>> {
    resources(template).filter_map(move |(logical_id, declared)| {
        let path = location(declared)?.text()?;
        (!path.contains("://")).then(|| Nested {
            logical_id,
            property: location_property(kind_of(declared)).unwrap_or_default(),
            file: located(file, path),
        })
    })
}

fn binaries_of(template: &Node) -> impl Iterator<Item = (&str, &str)> {
    resources(template)
        .filter(|(_, declared)| kind_of(declared) == "AWS::Serverless::Function")
        .filter_map(|(id, declared)| Some((id, binary(declared)?)))
}

/// The binary that a function is made from.
pub(super) fn binary(declared: &Node) -> Option<&str> {
    let binary = declared.at(&["Metadata", "BuildProperties", "Binary"]);
    binary.and_then(Node::text)
}

/// The path of the template that `parent` nests as `path`.
pub(crate) fn located(parent: &str, path: &str) -> String {
    let folder = Path::new(parent).parent().unwrap_or(Path::new(""));
    joined(folder, path).to_string_lossy().into_owned()
}

/// Joins the paths without `..`, as a watcher names the file.
pub(super) fn joined(folder: &Path, path: &str) -> PathBuf {
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

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::*;

    const TEMPLATE: &str = "
Parameters:
  Stage: {Type: String, Default: dev}
Resources:
  Orders:
    Type: AWS::Serverless::Application
    Properties: {Location: infra/queue.yaml}
  PlaceOrder:
    Type: AWS::Serverless::Function
    Metadata: {BuildProperties: {Binary: place-order}}
  Other:
    Type: AWS::Serverless::Function
    Properties: {InlineCode: 'x'}
";
    const STACK: &str =
        "Resources: {A: {Type: AWS::CloudFormation::Stack, Properties: {TemplateURL: x}}}";

    fn parse(text: &str) -> Result<Templates> {
        Templates::read_by(Path::new("/"), "template.yaml", |file| {
            Ok((file == "template.yaml").then(|| text.to_owned()))
        })
    }

    pub(crate) fn write(root: &Path, name: &str, text: &str) -> PathBuf {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn only_functions_with_a_binary_are_built() {
        let template = parse(TEMPLATE).unwrap();
        assert_eq!(
            template.functions().unwrap(),
            [Function {
                logical_id: "PlaceOrder".to_owned(),
                binary: "place-order".to_owned()
            }]
        );
        assert!(template.has_parameter("Stage"));
        assert!(!template.has_parameter("Architecture"));
    }

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
        let read = || Templates::read(&Project::find(root).unwrap()).unwrap();
        assert_eq!(
            read().paths(),
            BTreeSet::from([
                main.clone(),
                root.join("infra/alarms/a.yaml"),
                queue.clone()
            ])
        );
        fs::write(&alarms, STACK.replace("x", "../queue.yaml")).unwrap();
        let error = read().functions().unwrap_err().to_string();
        assert!(
            error.ends_with("queue.yaml nests itself: remove the nested stack"),
            "{error}"
        );
        // The file may belong to another project; if it is missing, the deployment reports it.
        fs::remove_file(&queue).unwrap();
        assert_eq!(read().paths(), BTreeSet::from([main]));
    }

    #[test]
    fn a_file_that_is_not_a_template_is_an_error() {
        assert!(parse("a: [").is_err());
        let error = parse("a: 1").unwrap().functions().unwrap_err();
        assert_eq!(
            error.to_string(),
            "template.yaml is not a template: it has no `Resources`"
        );
    }
}
