//! What a template comes to with given parameters: its resources and those of the templates it nests, with every
//! intrinsic function replaced by its value.
//!
//! Names and ARNs are made up where only the deployment gives them, each the same wherever it is used, so that what
//! refers to a resource can be followed by comparing texts.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use super::{
    finding::{Findings, rule},
    resource::{self, ACCOUNT, Resource, Whereabouts},
    yaml::{Node, Place, Value},
};

/// The parsed templates by their path.
pub(crate) type Templates = BTreeMap<String, Rc<Node>>;

/// Everything in the template `file`, and what is wrong with it.
pub(crate) fn resources(
    templates: &Templates,
    file: &str,
    parameters: &BTreeMap<String, String>,
    at: &Whereabouts,
    findings: &mut Findings,
) -> Vec<Resource> {
    let Some(root) = templates.get(file) else {
        return Vec::new();
    };
    let given = parameters
        .iter()
        .map(|(name, value)| {
            let place = root.place.clone();
            let value = Value::Text(value.clone());
            (name.clone(), Some(Node { place, value }))
        })
        .collect();
    let problems = RefCell::new(Vec::new());
    let scope = Scope::new(
        templates,
        Rc::clone(root),
        String::new(),
        given,
        at,
        &problems,
    );
    let mut resources = Vec::new();
    scope.collect(&mut resources);
    drop(scope);
    for (place, message) in problems.into_inner() {
        findings.add(&rule::UNRESOLVED, &place, "", message);
    }
    resources
}

/// Nested deeper, it is a circle.
const MAX_DEPTH: usize = 64;

/// A template with its parameters.
struct Scope<'a> {
    templates: &'a Templates,
    template: Rc<Node>,
    /// Of its resources' ids.
    prefix: String,
    /// None is `AWS::NoValue`.
    parameters: HashMap<String, Option<Node>>,
    at: &'a Whereabouts,
    nested: RefCell<HashMap<String, Rc<Scope<'a>>>>,
    depth: RefCell<usize>,
    problems: &'a RefCell<Vec<(Place, String)>>,
}

impl<'a> Scope<'a> {
    fn new(
        templates: &'a Templates,
        template: Rc<Node>,
        prefix: String,
        mut parameters: HashMap<String, Option<Node>>,
        at: &'a Whereabouts,
        problems: &'a RefCell<Vec<(Place, String)>>,
    ) -> Self {
        for (name, parameter) in template
            .get("Parameters")
            .into_iter()
            .flat_map(Node::entries)
        {
            if !parameters.contains_key(name) {
                // One without a default is given with the deployment.
                let unknown = Node {
                    place: parameter.place.clone(),
                    value: Value::Unknown,
                };
                let default = parameter.get("Default").cloned().unwrap_or(unknown);
                parameters.insert(name.to_owned(), Some(default));
            }
        }
        Self {
            templates,
            template,
            prefix,
            parameters,
            at,
            nested: RefCell::default(),
            depth: RefCell::new(0),
            problems,
        }
    }

    fn collect(&self, into: &mut Vec<Resource>) {
        let resources = self.template.get("Resources").cloned();
        for (id, declared) in resources.iter().flat_map(Node::entries) {
            if !self.is_deployed(declared) {
                continue;
            }
            if let Some(nested) = self.nested(id) {
                nested.collect(into);
            }
            let kind = kind_of(declared).to_owned();
            let (name, arn) = self.identity(id, declared);
            let properties = self.merged_properties(&kind, declared);
            let properties = self.evaluate(&properties).unwrap_or_else(|| Node {
                place: declared.place.clone(),
                value: Value::Map(Vec::new()),
            });
            let attributes = declared
                .entries()
                .filter(|(name, _)| !["Properties", "Condition"].contains(name))
                .filter_map(|(name, node)| Some((name.to_owned(), self.evaluate(node)?)))
                .collect();
            into.push(Resource {
                id: format!("{}{id}", self.prefix),
                kind,
                place: declared.place.clone(),
                attributes: Node {
                    place: declared.place.clone(),
                    value: Value::Map(attributes),
                },
                properties,
                name,
                arn,
            });
        }
    }

    fn is_deployed(&self, declared: &Node) -> bool {
        let condition = declared.get("Condition").and_then(Node::text);
        condition.is_none_or(|name| self.condition(name) != Some(false))
    }

    fn declared(&self, id: &str) -> Option<&Node> {
        self.template.at(&["Resources", id])
    }

    /// SAM makes resources of a function, and calls them by its name: `GreetRole`.
    fn is_made_by_sam(&self, id: &str) -> bool {
        let resources = self.template.get("Resources");
        let mut resources = resources.into_iter().flat_map(Node::entries);
        id.starts_with("Serverless")
            || resources.any(|(name, declared)| {
                kind_of(declared).starts_with("AWS::Serverless::") && id.starts_with(name)
            })
    }

    /// With what `Globals` say of a function's properties.
    fn merged_properties(&self, kind: &str, declared: &Node) -> Node {
        let own = declared.get("Properties").cloned().unwrap_or(Node {
            place: declared.place.clone(),
            value: Value::Map(Vec::new()),
        });
        let globals = match kind {
            "AWS::Serverless::Function" => self.template.at(&["Globals", "Function"]),
            _ => None,
        };
        match globals {
            Some(globals) => merge(globals, &own),
            None => own,
        }
    }

    /// A resource's name and ARN.
    fn identity(&self, id: &str, declared: &Node) -> (String, String) {
        let kind = kind_of(declared);
        let properties = self.merged_properties(kind, declared);
        let property = |name: &str| self.evaluate(properties.get(name)?);
        let given = resource::name_property(kind).and_then(property);
        let name = match given.as_ref().and_then(Node::text) {
            Some(name) => name.to_owned(),
            None => {
                let is_fifo = property("FifoQueue").is_some_and(|fifo| fifo.is("true"));
                let suffix = if is_fifo { ".fifo" } else { "" };
                let path = format!("{}{id}", self.prefix).replace('/', "-");
                format!("{}-{path}{suffix}", self.at.stack)
            }
        };
        let bus = property("EventBusName");
        let bus = bus.as_ref().and_then(Node::text);
        let arn = resource::arn(kind, &name, bus, self.at);
        (name, arn)
    }

    /// The scope of a nested stack whose template is here.
    fn nested(&self, id: &str) -> Option<Rc<Scope<'a>>> {
        if let Some(scope) = self.nested.borrow().get(id) {
            return Some(Rc::clone(scope));
        }
        let declared = self.declared(id)?;
        let location = match kind_of(declared) {
            "AWS::CloudFormation::Stack" => "TemplateURL",
            "AWS::Serverless::Application" => "Location",
            _ => return None,
        };
        let properties = declared.get("Properties")?;
        let file = properties.get(location)?.text()?;
        let template = self
            .templates
            .get(&located(&self.template.place.file, file))?;
        let parameters = properties.get("Parameters");
        let parameters = parameters.into_iter().flat_map(Node::entries);
        let parameters = parameters
            .map(|(name, node)| (name.to_owned(), self.evaluate(node)))
            .collect();
        let scope = Rc::new(Scope::new(
            self.templates,
            Rc::clone(template),
            format!("{}{id}/", self.prefix),
            parameters,
            self.at,
            self.problems,
        ));
        (self.nested.borrow_mut()).insert(id.to_owned(), Rc::clone(&scope));
        Some(scope)
    }

    /// None is `AWS::NoValue`.
    fn evaluate(&self, node: &Node) -> Option<Node> {
        if *self.depth.borrow() > MAX_DEPTH {
            self.problem(&node.place, "it refers to itself".to_owned());
            return Some(self.unknown(node));
        }
        *self.depth.borrow_mut() += 1;
        let value = self.value(node);
        *self.depth.borrow_mut() -= 1;
        Some(Node {
            place: node.place.clone(),
            value: value?,
        })
    }

    fn value(&self, node: &Node) -> Option<Value> {
        Some(match &node.value {
            Value::List(items) => {
                Value::List(items.iter().filter_map(|it| self.evaluate(it)).collect())
            }
            Value::Map(entries) => match &entries[..] {
                [(name, argument)] if name == "Ref" || name.starts_with("Fn::") => {
                    return self.intrinsic(name, argument);
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

    fn intrinsic(&self, name: &str, argument: &Node) -> Option<Value> {
        let items = || argument.items();
        Some(match name {
            "Ref" => return self.reference(argument.text()?, &argument.place),
            "Fn::GetAtt" => {
                let (id, attribute) = match argument.text() {
                    Some(path) => path.split_once('.')?,
                    None => (items().first()?.text()?, items().get(1)?.text()?),
                };
                return self.attribute(id, attribute, &argument.place);
            }
            "Fn::Sub" => return self.substitute(argument),
            "Fn::If" => {
                let [condition, yes, no] = items() else {
                    return Some(Value::Unknown);
                };
                let chosen = match self.condition(condition.text()?) {
                    Some(true) => yes,
                    Some(false) => no,
                    None => return Some(Value::Unknown),
                };
                return self.evaluate(chosen).map(|node| node.value);
            }
            "Fn::Join" => {
                let [separator, parts] = items() else {
                    return Some(Value::Unknown);
                };
                let parts = self.evaluate(parts)?;
                let texts: Option<Vec<&str>> = parts.items().iter().map(Node::text).collect();
                match (texts, separator.value == Value::Null) {
                    (Some(texts), true) => Value::Text(texts.concat()),
                    (Some(texts), false) => Value::Text(texts.join(separator.text()?)),
                    (None, _) => Value::Unknown,
                }
            }
            "Fn::Split" => {
                let [separator, text] = items() else {
                    return Some(Value::Unknown);
                };
                let text = self.evaluate(text)?;
                match (separator.text(), text.text()) {
                    (Some(separator), Some(whole)) => {
                        let parts = whole.split(separator).map(|part| Node {
                            place: text.place.clone(),
                            value: Value::Text(part.to_owned()),
                        });
                        Value::List(parts.collect())
                    }
                    _ => Value::Unknown,
                }
            }
            "Fn::Select" => {
                let [index, list] = items() else {
                    return Some(Value::Unknown);
                };
                let index = self.evaluate(index)?.number();
                let list = self.evaluate(list)?;
                let index = index.and_then(|index| usize::try_from(index).ok());
                let item = index.and_then(|index| list.items().get(index));
                item.map_or(Value::Unknown, |item| item.value.clone())
            }
            "Fn::FindInMap" => self.find_in_map(argument),
            _ => Value::Unknown,
        })
    }

    fn reference(&self, name: &str, place: &Place) -> Option<Value> {
        if let Some(pseudo) = name.strip_prefix("AWS::") {
            return match pseudo {
                "NoValue" => None,
                _ => Some(self.pseudo(pseudo)),
            };
        }
        if let Some(parameter) = self.parameters.get(name) {
            return parameter.as_ref().map(|node| node.value.clone());
        }
        // SAM makes `Function.Alias` and `Function.Version`.
        let (id, of_function) = match name.split_once('.') {
            Some((id, "Alias" | "Version")) => (id, true),
            _ => (name, false),
        };
        let Some(declared) = self.declared(id) else {
            if !self.is_made_by_sam(id) {
                self.problem(place, format!("there is no `{name}` to refer to"));
            }
            return Some(Value::Unknown);
        };
        let (name, arn) = self.identity(id, declared);
        Some(Value::Text(match of_function {
            true => arn,
            false => resource::reference(kind_of(declared), &name, &arn),
        }))
    }

    fn attribute(&self, id: &str, attribute: &str, place: &Place) -> Option<Value> {
        let Some(declared) = self.declared(id) else {
            if !self.is_made_by_sam(id) {
                self.problem(place, format!("there is no resource `{id}`"));
            }
            return Some(Value::Unknown);
        };
        if let Some(output) = attribute.strip_prefix("Outputs.")
            && let Some(nested) = self.nested(id)
        {
            let Some(value) = nested.template.at(&["Outputs", output, "Value"]) else {
                let file = &nested.template.place.file;
                self.problem(place, format!("`{output}` is no output of {file}"));
                return Some(Value::Unknown);
            };
            return nested.evaluate(value).map(|node| node.value);
        }
        let (name, arn) = self.identity(id, declared);
        Some(resource::attribute(
            kind_of(declared),
            &name,
            &arn,
            attribute,
        ))
    }

    fn pseudo(&self, name: &str) -> Value {
        Value::Text(match name {
            "StackName" => self.at.stack.clone(),
            "Region" => self.at.region.clone(),
            "AccountId" => ACCOUNT.to_owned(),
            "Partition" => "aws".to_owned(),
            "URLSuffix" => "amazonaws.com".to_owned(),
            "StackId" => format!("{}-id", self.at.stack),
            _ => return Value::Unknown,
        })
    }

    /// `${Name}`, `${Resource.Attribute}`, and `${!Literal}`, which stays.
    fn substitute(&self, argument: &Node) -> Option<Value> {
        let (text, variables) = match &argument.value {
            Value::List(items) => (items.first()?.text()?, items.get(1)),
            _ => (argument.text()?, None),
        };
        let mut result = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            result.push_str(before);
            let (name, end) = after.split_once('}')?;
            rest = end;
            if let Some(literal) = name.strip_prefix('!') {
                result.push_str(&format!("${{{literal}}}"));
                continue;
            }
            let given = variables.and_then(|variables| variables.get(name));
            let value = match (given, name.split_once('.')) {
                (Some(node), _) => self.evaluate(node)?.value,
                (None, Some((id, attribute))) => self.attribute(id, attribute, &argument.place)?,
                (None, None) => self.reference(name, &argument.place)?,
            };
            match value {
                Value::Text(text) => result.push_str(&text),
                _ => return Some(Value::Unknown),
            }
        }
        result.push_str(rest);
        Some(Value::Text(result))
    }

    fn find_in_map(&self, argument: &Node) -> Value {
        let keys: Option<Vec<Node>> = (argument.items().iter())
            .take(3)
            .map(|key| self.evaluate(key))
            .collect();
        let keys = keys.unwrap_or_default();
        let texts: Option<Vec<&str>> = keys.iter().map(Node::text).collect();
        let Some([map, first, second]) = texts.as_deref() else {
            return Value::Unknown;
        };
        match self.template.at(&["Mappings", map, first, second]) {
            Some(found) => found.value.clone(),
            None => {
                let message = format!("the mapping {map} has no {second} for `{first}`");
                self.problem(&argument.place, message);
                Value::Unknown
            }
        }
    }

    /// None where nobody can tell.
    fn condition(&self, name: &str) -> Option<bool> {
        self.truth(self.template.at(&["Conditions", name])?)
    }

    fn truth(&self, node: &Node) -> Option<bool> {
        let (name, argument) = node.entries().next()?;
        let each = || argument.items().iter().map(|item| self.truth(item));
        match name {
            "Condition" => self.condition(argument.text()?),
            "Fn::Equals" => {
                let [a, b] = argument.items() else {
                    return None;
                };
                let (a, b) = (self.evaluate(a)?, self.evaluate(b)?);
                let is_known = !a.is_unknown() && !b.is_unknown();
                // An empty text and nothing are the same to a parameter.
                let text = |node: &Node| node.text().unwrap_or_default().to_owned();
                is_known.then(|| text(&a) == text(&b))
            }
            "Fn::Not" => each().next()?.map(|truth| !truth),
            "Fn::And" => match each().collect::<Option<Vec<bool>>>() {
                Some(all) => Some(all.into_iter().all(|truth| truth)),
                None => each().any(|truth| truth == Some(false)).then_some(false),
            },
            "Fn::Or" => match each().collect::<Option<Vec<bool>>>() {
                Some(all) => Some(all.into_iter().any(|truth| truth)),
                None => each().any(|truth| truth == Some(true)).then_some(true),
            },
            _ => None,
        }
    }

    fn unknown(&self, node: &Node) -> Node {
        Node {
            place: node.place.clone(),
            value: Value::Unknown,
        }
    }

    fn problem(&self, place: &Place, message: String) {
        let mut problems = self.problems.borrow_mut();
        let problem = (place.clone(), message);
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
}

/// Where a template finds the one that it nests.
pub(crate) fn located(parent: &str, file: &str) -> String {
    let file = file.strip_prefix("./").unwrap_or(file);
    match parent.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/{file}"),
        None => file.to_owned(),
    }
}

fn kind_of(declared: &Node) -> &str {
    declared.get("Type").and_then(Node::text).unwrap_or("")
}

/// As SAM merges: maps by key, lists one after the other, and else the function's own.
fn merge(globals: &Node, own: &Node) -> Node {
    let value = match (&globals.value, &own.value) {
        (Value::Map(theirs), Value::Map(ours)) if !is_intrinsic(globals) && !is_intrinsic(own) => {
            let mut entries = ours.clone();
            for (name, value) in theirs {
                match entries.iter_mut().find(|(own, _)| own == name) {
                    Some((_, own)) => *own = merge(value, own),
                    None => entries.push((name.clone(), value.clone())),
                }
            }
            Value::Map(entries)
        }
        (Value::List(theirs), Value::List(ours)) => {
            Value::List(theirs.iter().chain(ours).cloned().collect())
        }
        _ => own.value.clone(),
    };
    Node {
        place: own.place.clone(),
        value,
    }
}

fn is_intrinsic(node: &Node) -> bool {
    let mut names = node.entries().map(|(name, _)| name);
    let first = names.next();
    names.next().is_none() && first.is_some_and(|name| name == "Ref" || name.starts_with("Fn::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIN: &str = "
Parameters:
  Stage: {Type: String, Default: dev}
  Name: {Type: String}
Conditions:
  IsProd: !Equals [!Ref Stage, prod]
  Neither: !Not [!Or [!Condition IsProd, !Equals [a, b]]]
Mappings:
  Limits:
    dev: {Size: 1}
Globals:
  Function:
    Environment: {Variables: {A: all, B: all}}
Resources:
  Bus: {Type: 'AWS::Events::EventBus', Properties: {Name: !Sub '${AWS::StackName}-bus'}}
  Nested:
    Type: AWS::CloudFormation::Stack
    Properties:
      TemplateURL: infra/q.yaml
      Parameters: {Fifo: 'true', Source: !GetAtt Bus.Arn}
  Function:
    Type: AWS::Serverless::Function
    Properties:
      Environment:
        Variables:
          B: own
          C: !If [IsProd, x, !Ref AWS::NoValue]
          D: !GetAtt Nested.Outputs.Url
          E: !FindInMap [Limits, !Ref Stage, Size]
          F: !Select [1, !Split ['@', 'a@b']]
          G: !Join ['-', [a, !Ref Stage]]
          H: !If [Neither, yes, no]
          I: !Ref Name
          J: !Sub ['${X}/${!Y}', {X: !Ref Bus}]
  OnlyProd: {Type: AWS::SNS::Topic, Condition: IsProd}
";
    const NESTED: &str = "
Parameters:
  Fifo: {Type: String, Default: 'false'}
  Source: {Type: String}
Conditions: {IsFifo: !Equals [!Ref Fifo, 'true']}
Resources:
  Queue:
    Type: AWS::SQS::Queue
    Properties:
      FifoQueue: !If [IsFifo, true, !Ref AWS::NoValue]
      Tags: !Ref Source
Outputs:
  Url: {Value: !Ref Queue}
";

    fn evaluated(main: &str, stage: Option<&str>) -> (Vec<Resource>, Vec<String>) {
        let templates = [("template.yaml", main), ("infra/q.yaml", NESTED)];
        let templates = templates
            .map(|(file, text)| (file.to_owned(), Rc::new(Node::parse(file, text).unwrap())));
        let parameters = stage.map(|stage| ("Stage".to_owned(), stage.to_owned()));
        let at = Whereabouts {
            stack: "shop".to_owned(),
            region: "eu-west-1".to_owned(),
        };
        let mut findings = Findings::default();
        let resources = resources(
            &templates.into(),
            "template.yaml",
            &parameters.into_iter().collect(),
            &at,
            &mut findings,
        );
        let problems = (findings.into_sorted().into_iter()).map(|finding| finding.message);
        (resources, problems.collect())
    }

    #[test]
    fn values_are_those_of_a_deployment() {
        let (resources, problems) = evaluated(MAIN, None);
        assert_eq!(problems, [""; 0]);
        let find = |id: &str| resources.iter().find(|it| it.id == id).unwrap();
        let queue = find("Nested/Queue");
        assert_eq!(queue.name, "shop-Nested-Queue.fifo");
        assert_eq!(
            queue.property(&["Tags"]).unwrap().text(),
            Some(find("Bus").arn.as_str())
        );
        let variables = find("Function")
            .property(&["Environment", "Variables"])
            .unwrap();
        let value = |name: &str| variables.get(name).map(|node| node.text().unwrap_or("?"));
        assert_eq!(value("A"), Some("all"));
        assert_eq!(value("B"), Some("own"));
        assert_eq!(value("C"), None);
        assert_eq!(value("D"), Some(queue.url().as_str()));
        assert_eq!(value("E"), Some("1"));
        assert_eq!(value("F"), Some("b"));
        assert_eq!(value("G"), Some("a-dev"));
        assert_eq!(value("H"), Some("yes"));
        assert_eq!(value("I"), Some("?"));
        assert_eq!(value("J"), Some("shop-bus/${Y}"));
        assert!(resources.iter().all(|it| it.id != "OnlyProd"));
    }

    #[test]
    fn what_cannot_be_resolved_is_said() {
        let (resources, problems) = evaluated(MAIN, Some("prod"));
        assert_eq!(problems, ["the mapping Limits has no Size for `prod`"]);
        assert!(resources.iter().any(|it| it.id == "OnlyProd"));
        let (_, problems) = evaluated(&MAIN.replace("Outputs.Url", "Outputs.Uri"), None);
        assert_eq!(problems, ["`Uri` is no output of infra/q.yaml"]);
        let (_, problems) = evaluated(&MAIN.replace("!Ref Name", "!Ref Names"), None);
        assert_eq!(problems, ["there is no `Names` to refer to"]);
    }
}
