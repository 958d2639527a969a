//! YAML in which each value knows its line, with CloudFormation's short forms made long.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
};

use anyhow::{Result, anyhow, bail};
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Number, json};

/// A document that is nested deeper than this is refused.
const MAX_DEPTH: usize = 128;

/// How many values the aliases of a document may repeat. Aliases of aliases grow exponentially.
const MAX_REPEATED: usize = 100_000;

/// Where something is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// Relative to the project's folder.
    pub(crate) file: Rc<str>,
    /// From 1.
    pub(crate) line: usize,
}

/// A value, and the line of the key or item that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// CloudFormation treats `true` and `"true"`, and `5` and `"5"`, as the same, so every scalar has a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Text(String),
    /// A scalar without quotes, which is a number or a boolean in JSON if it looks like one.
    Plain(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
    /// A value that only the deployment decides.
    Unknown,
}

impl Node {
    /// Reads the first document of `text`.
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self> {
        let mut reader = Reader {
            file: file.into(),
            events: Parser::new_from_str(text),
            anchors: HashMap::new(),
            depth: 0,
            repeated: 0,
        };
        loop {
            match reader.next()? {
                (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
                (Event::StreamEnd | Event::DocumentEnd, _) => bail!("{file} is empty"),
                first => return reader.node(first),
            }
        }
    }

    /// Returns the value of a key of a map. Every key of an unknown value is there, and unknown.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        if self.is_unknown() {
            return Some(self);
        }
        let mut entries = self.entries();
        entries.find(|(name, _)| *name == key).map(|(_, node)| node)
    }

    /// Returns the value at the end of a path of keys.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// Returns the entries of a map; none for any other value.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &Node)> {
        let entries: &[(String, Node)] = match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        };
        entries.iter().map(|(key, node)| (key.as_str(), node))
    }

    /// Returns the items of a list, or the one value that is there instead of a list.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            Value::Null => &[],
            _ => std::slice::from_ref(self),
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        self.value.text()
    }

    pub(crate) fn is_map(&self) -> bool {
        matches!(self.value, Value::Map(_))
    }

    pub(crate) fn number(&self) -> Option<u64> {
        self.text()?.parse().ok()
    }

    pub(crate) fn is(&self, text: &str) -> bool {
        self.text()
            .is_some_and(|own| own.eq_ignore_ascii_case(text))
    }

    pub(crate) fn is_unknown(&self) -> bool {
        self.value == Value::Unknown
    }

    /// True if it is the text, or if it is unknown.
    pub(crate) fn may_be(&self, text: &str) -> bool {
        self.is_unknown() || self.is(text)
    }

    /// Replaces a text that is a JSON object by that object.
    pub(crate) fn read_json(&mut self) {
        let text = self
            .text()
            .filter(|text| text.trim_start().starts_with('{'));
        if let Some(mut json) = text.and_then(|text| Self::parse(&self.place.file, text).ok()) {
            json.move_to(&self.place);
            *self = json;
        }
    }

    /// Returns how many values it holds, including itself.
    fn count(&self) -> usize {
        match &self.value {
            Value::List(items) => 1 + items.iter().map(Self::count).sum::<usize>(),
            Value::Map(entries) => 1 + entries.iter().map(|(_, it)| it.count()).sum::<usize>(),
            _ => 1,
        }
    }

    fn move_to(&mut self, place: &Place) {
        self.place = place.clone();
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|it| it.move_to(place)),
            Value::Map(entries) => entries.iter_mut().for_each(|(_, it)| it.move_to(place)),
            _ => {}
        }
    }
}

impl Value {
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Plain(text) => Some(text),
            _ => None,
        }
    }

    /// Makes values unknown that CloudFormation looks up only while it deploys.
    pub(crate) fn without_dynamic_references(self) -> Self {
        match self.text() {
            Some(text) if text.contains("{{resolve:") => Self::Unknown,
            _ => self,
        }
    }
}

/// The document as JSON, which every tool reads.
impl From<&Node> for serde_json::Value {
    fn from(node: &Node) -> Self {
        match &node.value {
            Value::Null | Value::Unknown => Self::Null,
            Value::Text(text) => json!(text),
            Value::Plain(text) => match text.as_str() {
                "true" | "True" | "TRUE" => json!(true),
                "false" | "False" | "FALSE" => json!(false),
                _ => match serde_json::from_str::<Number>(text) {
                    Ok(number) => json!(number),
                    Err(_) => json!(text),
                },
            },
            Value::List(items) => items.iter().map(Self::from).collect(),
            Value::Map(entries) => {
                let entry = |(name, node): &(String, Node)| (name.clone(), json_entry(name, node));
                Self::Object(entries.iter().map(entry).collect::<Map<_, _>>())
            }
        }
    }
}

/// JSON has no short form of `Fn::GetAtt`: it names the resource and the attribute apart. Only the first dot separates
/// them, since what follows can be the output of a nested stack.
fn json_entry(name: &str, node: &Node) -> serde_json::Value {
    match node.text().and_then(|path| path.split_once('.')) {
        Some((resource, attribute)) if name == "Fn::GetAtt" => json!([resource, attribute]),
        _ => node.into(),
    }
}

struct Reader<'a> {
    file: Rc<str>,
    events: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    depth: usize,
    repeated: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span)> {
        match self.events.next() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(anyhow!(
                "{}:{}: {}",
                self.file,
                error.marker().line(),
                error.info()
            )),
            None => bail!("{} ends in the middle of a value", self.file),
        }
    }

    fn node(&mut self, first: (Event<'a>, Span)) -> Result<Node> {
        if self.depth == MAX_DEPTH {
            let line = first.1.start.line();
            bail!("{}:{line}: the value is nested too deeply", self.file);
        }
        self.depth += 1;
        let node = self.node_at_depth(first);
        self.depth -= 1;
        node
    }

    fn node_at_depth(&mut self, (event, span): (Event<'a>, Span)) -> Result<Node> {
        let place = Place {
            file: Rc::clone(&self.file),
            line: span.start.line(),
        };
        let (value, anchor, tag) = match event {
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor);
                self.repeated += node.map_or(0, Node::count);
                if self.repeated > MAX_REPEATED {
                    bail!(
                        "{}:{}: the aliases repeat too many values",
                        self.file,
                        place.line
                    );
                }
                let value = node.map_or(Value::Null, |node| node.value.clone());
                return Ok(Node { place, value });
            }
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = style == ScalarStyle::Plain && tag.is_none();
                let value = match &*text {
                    "" | "~" | "null" | "Null" | "NULL" if is_plain => Value::Null,
                    _ if is_plain => Value::Plain(text.into_owned()),
                    _ => Value::Text(text.into_owned()),
                };
                (value, anchor, tag)
            }
            Event::SequenceStart(anchor, tag) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        item => items.push(self.node(item)?),
                    }
                }
                (Value::List(items), anchor, tag)
            }
            Event::MappingStart(anchor, tag) => {
                let mut entries = Vec::new();
                let mut names = HashSet::new();
                loop {
                    match self.next()? {
                        (Event::MappingEnd, _) => break,
                        key => {
                            let key = self.node(key)?;
                            let value = self.next()?;
                            let value = self.node(value)?;
                            let Some(name) = key.text() else {
                                bail!("{}:{}: the key is not text", self.file, key.place.line);
                            };
                            let name = name.to_owned();
                            if !names.insert(name.clone()) {
                                let line = key.place.line;
                                bail!(
                                    "{}:{line}: the key `{name}` is already in this map: remove one",
                                    self.file
                                );
                            }
                            let value = Node {
                                place: key.place,
                                ..value
                            };
                            entries.push((name, value));
                        }
                    }
                }
                (Value::Map(entries), anchor, tag)
            }
            other => bail!("{}:{}: {other:?} is not a value", self.file, place.line),
        };
        let node = match tag {
            Some(tag) if tag.handle == "!" => long_form(&tag, Node { place, value }),
            _ => Node { place, value },
        };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }
}

/// `!Ref X` is `{Ref: X}`, and `!Sub X` is `{Fn::Sub: X}`.
fn long_form(tag: &Tag, value: Node) -> Node {
    let place = value.place.clone();
    let name = match tag.suffix.as_str() {
        "Ref" | "Condition" => tag.suffix.clone(),
        other => format!("Fn::{other}"),
    };
    Node {
        place,
        value: Value::Map(vec![(name, value)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
Resources:
  Queue:   # one
    Type: AWS::SQS::Queue
    Properties:
      QueueName: !Sub ${AWS::StackName}-q
      Tags: [a, 'null', null]
      Other: {Nested: !GetAtt A.Outputs.B,
              Second: 5}
      Again: !If
        - IsProd
        - &two
          x: 1
        - *two
";

    #[test]
    fn every_value_knows_its_line() {
        let node = Node::parse("t.yaml", TEXT).unwrap();
        let line = |path: &[&str]| node.at(path).unwrap().place.line;
        assert_eq!(line(&["Resources", "Queue"]), 3);
        let properties = ["Resources", "Queue", "Properties"];
        assert_eq!(line(&properties), 5);
        assert_eq!(line(&[&properties[..], &["QueueName"]].concat()), 6);
        assert_eq!(line(&[&properties[..], &["Other", "Second"]].concat()), 9);
    }

    #[test]
    fn short_forms_are_long_and_scalars_are_text() {
        let node = Node::parse("t.yaml", TEXT).unwrap();
        let properties = node.at(&["Resources", "Queue", "Properties"]).unwrap();
        let sub = properties.at(&["QueueName", "Fn::Sub"]).unwrap();
        assert_eq!(sub.text(), Some("${AWS::StackName}-q"));
        let get = properties.at(&["Other", "Nested", "Fn::GetAtt"]).unwrap();
        assert_eq!(get.text(), Some("A.Outputs.B"));
        let tags = properties.get("Tags").unwrap().items();
        assert_eq!(tags[1].text(), Some("null"));
        assert_eq!(tags[2].value, Value::Null);
        assert_eq!(
            properties.at(&["Other", "Second"]).unwrap().number(),
            Some(5)
        );
        let choice = properties.at(&["Again", "Fn::If"]).unwrap().items();
        assert_eq!(choice[2].get("x").unwrap().number(), Some(1));
    }

    #[test]
    fn errors_name_the_line() {
        let error = Node::parse("t.yaml", "a: 1\nb: [\n")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("t.yaml:"), "{error}");
        assert!(Node::parse("t.yaml", "").is_err());
        let error = |text: &str| Node::parse("t.yaml", text).unwrap_err().to_string();
        assert_eq!(
            error("a: 1\nb: 2\na: 3"),
            "t.yaml:3: the key `a` is already in this map: remove one"
        );
        let deep = "[".repeat(MAX_DEPTH + 1);
        assert_eq!(error(&deep), "t.yaml:1: the value is nested too deeply");
        let mut many = "a0: &a0 [x]\n".to_owned();
        for level in 0..40 {
            many.push_str(&format!("a{0}: &a{0} [*a{level}, *a{level}]\n", level + 1));
        }
        let error = error(&many);
        assert!(
            error.ends_with(": the aliases repeat too many values"),
            "{error}"
        );
    }
}
