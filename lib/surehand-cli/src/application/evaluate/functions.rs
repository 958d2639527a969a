//! The intrinsic functions.

use super::Scope;
use crate::application::{
    resource::{self, ACCOUNT},
    templates::kind_of,
    yaml::{Node, Place, Value},
};

impl Scope<'_> {
    /// None is `AWS::NoValue`.
    pub(super) fn intrinsic(&self, name: &str, argument: &Node) -> Option<Value> {
        let items = argument.items();
        Some(match (name, items) {
            ("Ref", _) => return self.reference(argument),
            ("Fn::GetAtt", _) => return self.get_att(argument),
            ("Fn::Sub", _) => self.substitute(argument),
            ("Fn::If", [condition, yes, no]) => {
                let name = condition.text();
                match name.and_then(|name| self.condition(name, &condition.place)) {
                    Some(true) => return self.evaluate(yes).map(|node| node.value),
                    Some(false) => return self.evaluate(no).map(|node| node.value),
                    None => Value::Unknown,
                }
            }
            ("Fn::Join", [separator, parts]) => self.join(separator, parts),
            ("Fn::Split", [separator, text]) => self.split(separator, text),
            ("Fn::Select", [index, list]) => self.select(index, list),
            ("Fn::FindInMap", _) => self.find_in_map(items, &argument.place),
            _ => Value::Unknown,
        })
    }

    fn reference(&self, argument: &Node) -> Option<Value> {
        match argument.text() {
            Some(name) => self.named(name, &argument.place),
            None => Some(Value::Unknown),
        }
    }

    fn named(&self, name: &str, place: &Place) -> Option<Value> {
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
            if !self.may_be_made(id) {
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

    fn get_att(&self, argument: &Node) -> Option<Value> {
        let path = match (argument.text(), argument.items()) {
            (Some(path), _) => path.split_once('.'),
            (None, [id, attribute]) => id.text().zip(attribute.text()),
            _ => None,
        };
        match path {
            Some((id, attribute)) => self.attribute(id, attribute, &argument.place),
            None => Some(Value::Unknown),
        }
    }

    fn attribute(&self, id: &str, attribute: &str, place: &Place) -> Option<Value> {
        let Some(declared) = self.declared(id) else {
            if !self.may_be_made(id) {
                self.problem(place, format!("there is no resource `{id}`"));
            }
            return Some(Value::Unknown);
        };
        if let Some(output) = attribute.strip_prefix("Outputs.")
            && let Some(nested) = self.nested(id)
        {
            let Some(value) = nested.template.at(&["Outputs", output, "Value"]) else {
                if nested.unseen_transforms().is_empty() {
                    let file = &nested.template.place.file;
                    self.problem(place, format!("`{output}` is not an output of {file}"));
                }
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
        let at = self.world.at;
        Value::Text(match name {
            "StackName" => at.stack.clone(),
            "Region" => at.region.clone(),
            "AccountId" => ACCOUNT.to_owned(),
            "Partition" => "aws".to_owned(),
            "URLSuffix" => "amazonaws.com".to_owned(),
            "StackId" => format!("{}-id", at.stack),
            _ => return Value::Unknown,
        })
    }

    /// `${Name}`, `${Resource.Attribute}`, and `${!Literal}`, which stays.
    fn substitute(&self, argument: &Node) -> Value {
        let (text, variables) = match argument.items() {
            [text, variables] => (text.text(), Some(variables)),
            [text] => (text.text(), None),
            _ => (None, None),
        };
        let Some(mut rest) = text else {
            return Value::Unknown;
        };
        let mut result = String::new();
        while let Some((before, after)) = rest.split_once("${") {
            result.push_str(before);
            let Some((name, end)) = after.split_once('}') else {
                return Value::Unknown;
            };
            rest = end;
            if let Some(literal) = name.strip_prefix('!') {
                result.push_str(&format!("${{{literal}}}"));
                continue;
            }
            let given = variables.and_then(|variables| variables.get(name));
            let value = match (given, name.split_once('.')) {
                (Some(node), _) => self.evaluate(node).map(|node| node.value),
                (None, Some((id, attribute))) => self.attribute(id, attribute, &argument.place),
                (None, None) => self.named(name, &argument.place),
            };
            match value.as_ref().and_then(Value::text) {
                Some(text) => result.push_str(text),
                None => return Value::Unknown,
            }
        }
        result.push_str(rest);
        Value::Text(result)
    }

    fn join(&self, separator: &Node, parts: &Node) -> Value {
        // YAML reads an empty separator as null.
        let separator = match (&separator.value, separator.text()) {
            (Value::Null, _) => "",
            (_, Some(text)) => text,
            _ => return Value::Unknown,
        };
        let parts = self.evaluate(parts);
        let texts: Option<Vec<&str>> = (parts.iter())
            .flat_map(Node::items)
            .map(Node::text)
            .collect();
        texts.map_or(Value::Unknown, |texts| Value::Text(texts.join(separator)))
    }

    fn split(&self, separator: &Node, text: &Node) -> Value {
        let Some(text) = self.evaluate(text) else {
            return Value::Unknown;
        };
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

    fn select(&self, index: &Node, list: &Node) -> Value {
        let index = self.evaluate(index).and_then(|it| it.number());
        let index = index.and_then(|index| usize::try_from(index).ok());
        let list = self.evaluate(list);
        let items = list.as_ref().map_or(&[][..], Node::items);
        let item = index.and_then(|index| items.get(index));
        item.map_or(Value::Unknown, |item| item.value.clone())
    }

    fn find_in_map(&self, items: &[Node], place: &Place) -> Value {
        let keys: Option<Vec<Node>> = (items.iter())
            .take(3)
            .map(|key| self.evaluate(key))
            .collect();
        let keys = keys.unwrap_or_default();
        let texts: Option<Vec<&str>> = keys.iter().map(Node::text).collect();
        let Some([map, first, second]) = texts.as_deref() else {
            return Value::Unknown;
        };
        if let Some(found) = self.template.at(&["Mappings", map, first, second]) {
            return found.value.clone();
        }
        // A map may be for real regions and accounts, where the evaluation has placeholders.
        let is_made_up = |key: &str| key == ACCOUNT || key == self.world.at.region;
        match items.get(3).and_then(|it| it.get("DefaultValue")) {
            Some(default) => (self.evaluate(default)).map_or(Value::Unknown, |node| node.value),
            None if is_made_up(first) || is_made_up(second) => Value::Unknown,
            None => {
                let message = format!("the mapping {map} has no {second} for `{first}`");
                self.problem(place, message);
                Value::Unknown
            }
        }
    }
}
