//! What a version of a function is made from, as a hash: its code, its settings, and the values of the parameters that
//! they come from.
//!
//! SAM publishes a version when the hash of a function's code and variables changes, and does not resolve parameters for
//! it. An alias would then keep old settings after a change of parameters alone. A literal `AutoPublishCodeSha256` takes
//! that hash's place, and its first ten characters become a part of the version's logical id.
//!
//! A hash that changes without need makes one version too many. One that does not change leaves the alias on what was
//! deployed before, so that everything which cannot be told here counts as changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
    time::SystemTime,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::{
    evaluate::{self, Evaluated, Remark, RemarkKind, TRANSFORMS, parameter::is_hidden},
    resource::{Resource, Whereabouts, name_property},
    templates::{Templates, located, resources},
    yaml::{Node, Value},
};

/// The property that holds the hash.
pub(crate) const PROPERTY: &str = "AutoPublishCodeSha256";

/// Properties of a function that are no part of its versions.
const APART: [&str; 5] = [
    PROPERTY,
    "DeploymentPreference",
    "EventInvokeConfig",
    "Events",
    "ProvisionedConcurrencyConfig",
];

/// The properties with the path of an artifact.
const ARTIFACTS: [&str; 2] = ["CodeUri", "ContentUri"];

const FUNCTION: &str = "AWS::Serverless::Function";

/// What the versions of a function are made from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Revision {
    /// The template that declares the function.
    pub(crate) file: String,
    /// Its name there.
    pub(crate) id: String,
    pub(crate) hash: String,
    /// Whether the hash is another one each time, since something in it cannot be read before the deployment.
    pub(crate) is_new_each_time: bool,
}

/// Returns the revisions of all functions with an alias that deployments move. Fails if an artifact is not there.
///
/// `templates` are the built ones, whose paths are relative to `root`. With another `attempt` all revisions are others.
pub(crate) fn revisions(
    templates: &Templates,
    root: &Path,
    parameters: &BTreeMap<String, String>,
    at: &Whereabouts,
    attempt: &str,
) -> Result<Vec<Revision>> {
    let Evaluated {
        resources, remarks, ..
    } = evaluate::resources(templates, parameters, at)?;
    for template in templates.all() {
        let (name, node) = match looped(template) {
            Some(looped) => looped,
            None => continue,
        };
        bail!(
            "{}:{}: {name} makes functions with an alias, whose versions cannot be told before the deployment: write them out, \
             or use `sam build` and `sam deploy`, which move the aliases for other code only",
            node.place.file,
            node.place.line
        );
    }
    let is_elsewhere = |it: &Remark| it.kind == RemarkKind::Unseen;
    let application = Application {
        root,
        resources: &resources,
        templates,
        parameters,
        has_macros: templates.all().any(has_macros),
        looks_up: templates.all().any(looks_up) || remarks.iter().any(is_elsewhere),
    };
    let functions = resources.iter().filter(|it| {
        // A function of a macro's own kind has no alias that SAM moves.
        it.kind == FUNCTION && it.property(&["AutoPublishAlias"]).is_some()
    });
    let mut by_declaration: BTreeMap<(String, String), (Vec<String>, bool)> = BTreeMap::new();
    for function in functions {
        let (material, is_new_each_time) = application.material(function)?;
        let id = function.id.rsplit('/').next().unwrap_or(&function.id);
        let declaration = (function.place.file.to_string(), id.to_owned());
        // One declaration is several functions if its template is nested several times.
        let (materials, any) = by_declaration.entry(declaration).or_default();
        materials.push(material);
        *any |= is_new_each_time;
    }
    let revisions = by_declaration.into_iter();
    Ok(revisions
        .map(|((file, id), (materials, is_new_each_time))| Revision {
            file,
            id,
            hash: hex(&Sha256::digest(json!([attempt, materials]).to_string())),
            is_new_each_time,
        })
        .collect())
}

struct Application<'a> {
    root: &'a Path,
    resources: &'a [Resource],
    templates: &'a Templates,
    parameters: &'a BTreeMap<String, String>,
    /// Whether a macro may change a function before it is deployed.
    has_macros: bool,
    /// Whether values come from elsewhere while it is deployed, nested templates included.
    looks_up: bool,
}

impl Application<'_> {
    /// Returns a text that is another one whenever a version would be, and whether it is another one each time.
    fn material(&self, function: &Resource) -> Result<(String, bool)> {
        let mut seen = BTreeSet::from([function.id.as_str()]);
        let mut parts = vec![self.part(function)?];
        let mut next = 0;
        // What has no name of its own gets another one when it is replaced, and with it what refers to it.
        while let Some((part, _)) = parts.get(next) {
            let found: Vec<&Resource> = (self.resources.iter())
                .filter(|it| is_named_by_cloudformation(it))
                .filter(|it| part.contains(&it.name) && !seen.contains(it.id.as_str()))
                .collect();
            for resource in found {
                seen.insert(&resource.id);
                parts.push(self.part(resource)?);
            }
            next += 1;
        }
        let is_known = parts.iter().all(|(_, is_known)| *is_known);
        let mut texts: Vec<String> = parts.into_iter().map(|(text, _)| text).collect();
        // An image has the same name here whatever is in it.
        let package = function.property(&["PackageType"]).and_then(Node::text);
        let is_new_each_time =
            self.has_macros || package == Some("Image") || (!is_known && self.looks_up);
        if !is_known {
            texts.push(self.everything()?);
        }
        if is_new_each_time {
            texts.push(format!("{:?}", SystemTime::now()));
        }
        Ok((json!(texts).to_string(), is_new_each_time))
    }

    /// Returns what a resource comes to, and whether all of it is known.
    fn part(&self, resource: &Resource) -> Result<(String, bool)> {
        let mut entries = BTreeMap::new();
        let mut is_known = true;
        for (name, node) in resource.properties.entries() {
            if is_apart(&resource.kind, name) {
                continue;
            }
            let artifact = match node.text() {
                Some(path) if ARTIFACTS.contains(&name) => self.artifact(resource, path)?,
                _ => None,
            };
            is_known &= is_known_to_the_end(node);
            entries.insert(name, artifact.map_or_else(|| node.into(), Json::from));
        }
        let text = json!([resource.id, resource.kind, entries]).to_string();
        Ok((text, is_known && !resource.properties.is_unknown()))
    }

    /// Returns the hash of a local file or folder; none for an address.
    fn artifact(&self, resource: &Resource, path: &str) -> Result<Option<String>> {
        if path.contains("://") {
            return Ok(None);
        }
        let path = self.root.join(located(&resource.place.file, path));
        let mut digest = Sha256::new();
        add(&path, &mut digest).with_context(|| {
            format!(
                "cannot read the code of {}: build it with `sam build`",
                resource.id
            )
        })?;
        Ok(Some(hex(&digest.finalize())))
    }

    /// Returns a text that is another one whenever anything of the application is.
    fn everything(&self) -> Result<String> {
        let resources: Vec<String> = (self.resources.iter())
            .map(|it| Ok(self.part(it)?.0))
            .collect::<Result<_>>()?;
        let templates: Vec<Json> = self.templates.all().map(without_revisions).collect();
        Ok(json!([resources, templates, self.parameters]).to_string())
    }
}

/// Whether a property of a resource has no part in a function's versions.
fn is_apart(kind: &str, property: &str) -> bool {
    match kind {
        FUNCTION => APART.contains(&property),
        // A role's permissions change in their place, and at once.
        "AWS::IAM::Role" => !["Path", "RoleName"].contains(&property),
        _ => false,
    }
}

/// A loop of the language extensions over functions whose aliases deployments move.
fn looped(template: &Node) -> Option<(&str, &Node)> {
    let globals = template.at(&["Globals", "Function", "AutoPublishAlias"]);
    let mut loops = resources(template).filter(|(name, _)| name.starts_with("Fn::ForEach"));
    loops.find(|(_, node)| {
        let has_alias = globals.is_some() || mentions(node, "AutoPublishAlias");
        has_alias && mentions(node, FUNCTION)
    })
}

fn has_macros(template: &Node) -> bool {
    let transforms = template.get("Transform").map_or(&[][..], Node::items);
    let is_known = |it: &Node| it.text().is_some_and(|name| TRANSFORMS.contains(&name));
    !transforms.iter().all(is_known) || mentions(template, "Fn::Transform")
}

/// Whether a deployment reads values that the templates and their parameters do not tell: of Systems Manager, secrets,
/// and parameters that are not shown.
fn looks_up(template: &Node) -> bool {
    let parameters = template.get("Parameters");
    let mut parameters = parameters.into_iter().flat_map(Node::entries);
    parameters.any(|(_, declared)| is_hidden(declared)) || mentions(template, "{{resolve:")
}

/// Whether a key or a value contains this text.
fn mentions(node: &Node, what: &str) -> bool {
    match &node.value {
        Value::List(items) => items.iter().any(|it| mentions(it, what)),
        Value::Map(entries) => {
            (entries.iter()).any(|(key, it)| key.contains(what) || mentions(it, what))
        }
        value => value.text().is_some_and(|text| text.contains(what)),
    }
}

/// Whether CloudFormation makes up the resource's name, and may make up another one. It never replaces a nested stack.
fn is_named_by_cloudformation(resource: &Resource) -> bool {
    if resource.kind == "AWS::CloudFormation::Stack" {
        return false;
    }
    let property = name_property(&resource.kind);
    let name = property.and_then(|property| resource.property(&[property])?.text());
    name.is_none()
}

fn is_known_to_the_end(node: &Node) -> bool {
    match &node.value {
        Value::Unknown => false,
        Value::List(items) => items.iter().all(is_known_to_the_end),
        Value::Map(entries) => entries.iter().all(|(_, it)| is_known_to_the_end(it)),
        _ => true,
    }
}

/// A template as JSON, as it was before a revision was written into it.
fn without_revisions(template: &Node) -> Json {
    let mut template = Json::from(template);
    let resources = template.get_mut("Resources").and_then(Json::as_object_mut);
    for (_, resource) in resources.into_iter().flatten() {
        let properties = resource.get_mut("Properties");
        if let Some(properties) = properties.and_then(Json::as_object_mut) {
            properties.remove(PROPERTY);
        }
    }
    template
}

/// Adds a file, or a folder's files with their names, in an order that does not depend on the disk.
fn add(path: &Path, digest: &mut Sha256) -> Result<()> {
    let cannot_read = || format!("cannot read {}", path.display());
    if fs::metadata(path).with_context(cannot_read)?.is_file() {
        let content = fs::read(path).with_context(cannot_read)?;
        digest.update(Sha256::digest(content));
        return Ok(());
    }
    let entries = fs::read_dir(path).with_context(cannot_read)?;
    let mut entries = entries
        .map(|it| Ok(it?.path()))
        .collect::<Result<Vec<_>>>()?;
    entries.sort();
    digest.update(format!("{} in the folder\n", entries.len()));
    for entry in entries {
        let name = entry.file_name().unwrap_or_default();
        digest.update(Sha256::digest(name.as_encoded_bytes()));
        add(&entry, digest)?;
    }
    Ok(())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Returns a template's text with these functions' hashes in it, in place of those that it has. `hashes` are by the
/// functions' logical ids.
///
/// `sam build` writes one property a line. The result is read again, so that a template in another form is an error and
/// never a wrong revision.
pub(crate) fn stamped(file: &str, text: &str, hashes: &BTreeMap<&str, &str>) -> Result<String> {
    let template = Node::parse(file, text)?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut insertions = Vec::new();
    for (id, hash) in hashes {
        let properties = template
            .at(&["Resources", id, "Properties"])
            .with_context(|| format!("{file}: {id} has no properties"))?;
        let written = properties.get(PROPERTY);
        let anchor = match written {
            Some(node) => Some(&node.place),
            None => properties.entries().next().map(|(_, node)| &node.place),
        };
        let line = anchor.map_or(0, |place| place.line).checked_sub(1);
        let line = line.with_context(|| format!("{file}: {id} has no properties"))?;
        insertions.push((line, written.is_some(), *hash));
    }
    // From the end on, so that the numbers of the lines before stay true.
    insertions.sort_unstable();
    for (line, replaces, hash) in insertions.into_iter().rev() {
        let old = lines.get(line).map_or("", String::as_str);
        let indentation = &old[..old.len() - old.trim_start().len()];
        let new = format!("{indentation}{PROPERTY}: {hash}");
        if replaces {
            lines.splice(line..=line, [new]);
        } else {
            lines.insert(line, new);
        }
    }
    let stamped = lines.join("\n") + "\n";
    let read = Node::parse(file, &stamped).ok();
    for (id, hash) in hashes {
        let path = ["Resources", id, "Properties", PROPERTY];
        let found = read.as_ref().and_then(|it| it.at(&path)?.text());
        if found != Some(*hash) {
            bail!(
                "{file}: cannot write {PROPERTY} of {id}: the template must be as `sam build` writes it, and the property must not be an intrinsic function"
            );
        }
    }
    if read.is_none_or(|read| without_revisions(&read) != without_revisions(&template)) {
        bail!("{file}: {PROPERTY} cannot be written without changing something else");
    }
    Ok(stamped)
}

#[cfg(test)]
mod tests;
