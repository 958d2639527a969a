//! What a template comes to with given parameters: its resources and those of the templates it nests, with every
//! intrinsic function replaced by its value.
//!
//! Names and ARNs are made up where only the deployment gives them, each the same wherever it is used, so that what
//! refers to a resource can be followed by comparing texts. What cannot be told is unknown, and so is what is below it;
//! templates that are elsewhere, and what macros make, are said to have not been seen.

mod budget;
mod condition;
mod functions;
mod globals;
pub(crate) mod parameter;
mod policies;
#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use anyhow::{Result, bail};

use budget::Budget;

use super::{
    resource::{self, Resource, Whereabouts},
    templates::{self, Templates, kind_of, located, location},
    yaml::{Node, Place, Value},
};

/// A part of a template that could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remark {
    pub(crate) kind: RemarkKind,
    pub(crate) place: Place,
    pub(crate) message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RemarkKind {
    /// The template refers to a name that it does not have.
    Unresolved,
    /// The resources are made from a file or macro that is not in the project.
    Unseen,
}

/// What templates come to.
#[derive(Debug)]
pub(crate) struct Evaluated {
    /// Everything in the application's templates.
    pub(crate) resources: Vec<Resource>,
    /// What could not be evaluated.
    pub(crate) remarks: Vec<Remark>,
    /// How many values were evaluated or copied.
    pub(crate) cost: usize,
}

/// Evaluates the application's templates. Fails if they come to more than a machine can hold.
pub(crate) fn resources(
    templates: &Templates,
    parameters: &BTreeMap<String, String>,
    at: &Whereabouts,
) -> Result<Evaluated> {
    let mut evaluated = Evaluated {
        resources: Vec::new(),
        remarks: Vec::new(),
        cost: 0,
    };
    let Some(root) = templates.get(templates.main()) else {
        return Ok(evaluated);
    };
    let given = parameters
        .iter()
        .map(|(name, value)| {
            let place = root.place.clone();
            let value = Value::Text(value.clone());
            (name.clone(), Some(Node { place, value }))
        })
        .collect();
    let (remarks, budget) = (RefCell::new(Vec::new()), Budget::default());
    let world = World {
        templates,
        at,
        remarks: &remarks,
        budget: &budget,
    };
    let scope = Scope::new(world, Rc::clone(root), Vec::new(), given);
    scope.collect(&mut evaluated.resources);
    drop(scope);
    if let Some(met) = budget.met() {
        bail!(
            "cannot evaluate {} and the templates that it nests: {met}",
            templates.main()
        );
    }
    evaluated.remarks = remarks.into_inner();
    evaluated.cost = budget.values();
    Ok(evaluated)
}

/// The transforms whose resources are known here.
pub(super) const TRANSFORMS: [&str; 2] = ["AWS::Serverless-2016-10-31", "AWS::LanguageExtensions"];

/// The properties whose JSON may be written as text.
const JSON: [&str; 4] = [
    "EventPattern",
    "PolicyDocument",
    "RedriveAllowPolicy",
    "RedrivePolicy",
];

/// What all templates of an application share.
#[derive(Clone, Copy)]
struct World<'a> {
    templates: &'a Templates,
    at: &'a Whereabouts,
    remarks: &'a RefCell<Vec<Remark>>,
    budget: &'a Budget,
}

/// What is known of a condition.
#[derive(Clone, Copy)]
enum Truth {
    /// It is being evaluated: what asks for it now is a part of it.
    Open,
    /// None if it cannot be told.
    Known(Option<bool>),
}

/// A template with its parameters.
struct Scope<'a> {
    world: World<'a>,
    template: Rc<Node>,
    /// The logical ids of the stacks that it is nested in, each with its parent's file.
    path: Vec<(String, Rc<str>)>,
    /// None is `AWS::NoValue`.
    parameters: HashMap<String, Option<Node>>,
    /// The names and ARNs of resources, which are referred to often.
    identities: RefCell<HashMap<String, (String, String)>>,
    nested: RefCell<HashMap<String, Rc<Scope<'a>>>>,
    conditions: RefCell<HashMap<String, Truth>>,
}

impl<'a> Scope<'a> {
    fn new(
        world: World<'a>,
        template: Rc<Node>,
        path: Vec<(String, Rc<str>)>,
        mut given: HashMap<String, Option<Node>>,
    ) -> Self {
        let declared = template.get("Parameters");
        for (name, declared) in declared.into_iter().flat_map(Node::entries) {
            // A parameter without a value gets it at the deployment.
            let value = match given.remove(name) {
                Some(given) => given,
                None => Some(declared.get("Default").cloned().unwrap_or(Node {
                    place: declared.place.clone(),
                    value: Value::Unknown,
                })),
            };
            let value = value.map(|value| parameter::typed(declared, value));
            given.insert(name.to_owned(), value);
        }
        Self {
            world,
            template,
            path,
            parameters: given,
            identities: RefCell::default(),
            nested: RefCell::default(),
            conditions: RefCell::default(),
        }
    }

    fn collect(&self, into: &mut Vec<Resource>) {
        for transform in self.unseen_transforms() {
            let name = transform.text().unwrap_or("a transform");
            let message = format!(
                "{name} may make resources and change others, and is only applied when it is deployed"
            );
            self.unseen(&transform.place, message);
        }
        for (id, declared) in templates::resources(&self.template) {
            if !self.world.budget.holds() {
                return;
            }
            if id.starts_with("Fn::") {
                let message = format!("what {id} makes was not looked at");
                self.unseen(&declared.place, message);
            } else if self.is_deployed(declared) {
                self.collect_one(id, declared, into);
            }
        }
    }

    fn collect_one(&self, id: &str, declared: &Node, into: &mut Vec<Resource>) {
        if let Some(nested) = self.nested(id) {
            nested.collect(into);
        } else if let Some(location) = location(declared) {
            let what = match location.text().filter(|text| !text.contains("://")) {
                Some(file) if templates::is_outside(&located(&self.template.place.file, file)) => {
                    format!("{id}: {file} is outside of the project, and what it makes")
                }
                Some(file) => format!("{id}: there is no {file}, and what it makes"),
                None => format!("{id}: its template is elsewhere, and what it makes"),
            };
            self.unseen(&location.place, format!("{what} was not looked at"));
        }
        let kind = kind_of(declared).to_owned();
        let (name, arn) = self.identity(id, declared);
        let properties = self.merged_properties(&kind, declared);
        let mut properties = self.evaluate(&properties).unwrap_or_else(|| Node {
            place: declared.place.clone(),
            value: Value::Map(Vec::new()),
        });
        if let Value::Map(entries) = &mut properties.value {
            if kind == "AWS::Serverless::Function"
                && let Some((_, node)) = entries.iter_mut().find(|(name, _)| name == "Policies")
            {
                policies::expand(node, self.world.at);
                self.world.budget.take_values(node.count());
            }
            for (_, node) in entries
                .iter_mut()
                .filter(|(name, _)| JSON.contains(&name.as_str()))
            {
                if let Err(error) = node.read_json() {
                    self.problem(&node.place, format!("its JSON cannot be read: {error:#}"));
                }
            }
        }
        let attributes = declared
            .entries()
            .filter(|(name, _)| !["Properties", "Condition"].contains(name))
            .filter_map(|(name, node)| Some((name.to_owned(), self.evaluate(node)?)))
            .collect();
        into.push(Resource {
            id: self.full_id(id, "/"),
            kind,
            place: declared.place.clone(),
            attributes: Node {
                place: declared.place.clone(),
                value: Value::Map(attributes),
            },
            properties,
            name,
            arn,
            is_unseen: location(declared).is_some() && self.nested(id).is_none(),
        });
    }

    fn is_deployed(&self, declared: &Node) -> bool {
        let condition = declared.get("Condition").and_then(Node::text);
        condition.is_none_or(|name| self.condition(name, &declared.place) != Some(false))
    }

    /// Returns a logical id after those of the stacks that it is in.
    fn full_id(&self, id: &str, separator: &str) -> String {
        let stacks = self.path.iter().map(|(stack, _)| stack.as_str());
        stacks.chain([id]).collect::<Vec<_>>().join(separator)
    }

    fn declared(&self, id: &str) -> Option<&Node> {
        self.template.at(&["Resources", id])
    }

    /// Returns the transforms whose results are unknown here.
    fn unseen_transforms(&self) -> Vec<&Node> {
        let transforms = self.template.get("Transform");
        let transforms = transforms.map_or(&[][..], Node::items).iter();
        let known = |it: &&Node| it.text().is_some_and(|name| TRANSFORMS.contains(&name));
        transforms.filter(|it| !known(it)).collect()
    }

    /// SAM makes resources of a function, and calls them by its name (`GreetRole`); macros make any.
    fn may_be_made(&self, id: &str) -> bool {
        let mut resources = templates::resources(&self.template);
        id.starts_with("Serverless")
            || !self.unseen_transforms().is_empty()
            || resources.any(|(name, declared)| {
                name.starts_with("Fn::")
                    || (kind_of(declared).starts_with("AWS::Serverless::") && id.starts_with(name))
            })
    }

    /// Merges the properties in `Globals` into those of a function.
    fn merged_properties(&self, kind: &str, declared: &Node) -> Node {
        let own = declared.get("Properties").cloned().unwrap_or(Node {
            place: declared.place.clone(),
            value: Value::Map(Vec::new()),
        });
        let globals = match kind {
            "AWS::Serverless::Function" => self.template.at(&["Globals", "Function"]),
            _ => None,
        };
        let merged = match globals {
            Some(globals) => globals::merge(globals, &own),
            None => own,
        };
        self.world.budget.take_values(merged.count());
        merged
    }

    /// Returns a resource's name and ARN.
    fn identity(&self, id: &str, declared: &Node) -> (String, String) {
        if let Some(known) = self.identities.borrow().get(id) {
            return known.clone();
        }
        let kind = kind_of(declared);
        let properties = self.merged_properties(kind, declared);
        let property = |name: &str| self.evaluate(properties.get(name)?);
        let given = resource::name_property(kind).and_then(property);
        let name = match given.as_ref().and_then(Node::text) {
            Some(name) => name.to_owned(),
            None => {
                let is_fifo = property("FifoQueue").is_some_and(|fifo| fifo.is("true"));
                let suffix = if is_fifo { ".fifo" } else { "" };
                let id = self.full_id(id, "-");
                format!("{}-{id}{suffix}", self.world.at.stack)
            }
        };
        let bus = property("EventBusName");
        let bus = bus.as_ref().and_then(Node::text);
        let arn = resource::arn(kind, &name, bus, self.world.at);
        let identity = (name, arn);
        (self.identities.borrow_mut()).insert(id.to_owned(), identity.clone());
        identity
    }

    /// Returns the scope of a nested stack whose template is in the project.
    fn nested(&self, id: &str) -> Option<Rc<Scope<'a>>> {
        if let Some(scope) = self.nested.borrow().get(id) {
            return Some(Rc::clone(scope));
        }
        let declared = self.declared(id)?;
        let location = location(declared)?;
        let own_file = &self.template.place.file;
        let file = located(own_file, location.text()?);
        let template = self.world.templates.get(&file)?;
        let mut files = self.path.iter().map(|(_, file)| file).chain([own_file]);
        if files.any(|above| **above == *file) {
            self.problem(&location.place, format!("{file} nests itself"));
            return None;
        }
        let parameters = declared.at(&["Properties", "Parameters"]);
        let parameters = parameters.into_iter().flat_map(Node::entries);
        let parameters = parameters
            .map(|(name, node)| (name.to_owned(), self.evaluate(node)))
            .collect();
        self.world.budget.take_stack();
        let mut path = self.path.clone();
        path.push((id.to_owned(), Rc::clone(own_file)));
        let scope = Rc::new(Scope::new(
            self.world,
            Rc::clone(template),
            path,
            parameters,
        ));
        (self.nested.borrow_mut()).insert(id.to_owned(), Rc::clone(&scope));
        Some(scope)
    }

    /// None is `AWS::NoValue`.
    fn evaluate(&self, node: &Node) -> Option<Node> {
        let unknown = || Node {
            place: node.place.clone(),
            value: Value::Unknown,
        };
        let budget = self.world.budget;
        budget.take_values(1);
        if !budget.holds() {
            return Some(unknown());
        }
        let Some(value) = budget.deeper(|| self.value(node)) else {
            self.problem(&node.place, "it refers to itself".to_owned());
            return Some(unknown());
        };
        let value = value?.without_dynamic_references();
        budget.take_text(value.text().map_or(0, str::len));
        Some(Node { value, ..unknown() })
    }

    fn value(&self, node: &Node) -> Option<Value> {
        Some(match &node.value {
            Value::List(items) => {
                Value::List(items.iter().filter_map(|it| self.evaluate(it)).collect())
            }
            Value::Map(entries) => match &entries[..] {
                [(name, argument)] if name == "Ref" || name.starts_with("Fn::") => {
                    let value = self.intrinsic(name, argument);
                    // It may be a copy of something large.
                    let size = value.as_ref().map_or(0, Value::count);
                    self.world.budget.take_values(size);
                    return value;
                }
                _ => Value::Map(
                    entries
                        .iter()
                        .filter_map(|(name, node)| Some((name.clone(), self.evaluate(node)?)))
                        .collect(),
                ),
            },
            other => other.clone(),
        })
    }

    fn problem(&self, place: &Place, message: String) {
        self.remark(RemarkKind::Unresolved, place, message);
    }

    fn unseen(&self, place: &Place, message: String) {
        self.remark(RemarkKind::Unseen, place, message);
    }

    fn remark(&self, kind: RemarkKind, place: &Place, message: String) {
        let mut remarks = self.world.remarks.borrow_mut();
        let place = place.clone();
        let remark = Remark {
            kind,
            place,
            message,
        };
        if !remarks.contains(&remark) && self.world.budget.allows_remark(remarks.len()) {
            remarks.push(remark);
        }
    }
}
