//! YAML whose every value knows its line, with CloudFormation's short forms made long.

use std::{collections::HashMap, rc::Rc};

use anyhow::{Result, anyhow, bail};
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

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

/// CloudFormation takes `true`, `"true"` and `5`, `"5"` for the same, and so all scalars are text here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
    /// What nobody can tell before it is deployed.
    Unknown,
}

impl Node {
    /// Reads the first document of `text`.
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self> {
        let mut reader = Reader {
            file: file.into(),
            events: Parser::new_from_str(text),
            anchors: HashMap::new(),
        };
        loop {
            match reader.next()? {
                (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
                (Event::StreamEnd | Event::DocumentEnd, _) => bail!("{file} is empty"),
                first => return reader.node(first),
            }
        }
    }

    /// The value of a key of a map. Below what is unknown everything is there, and unknown.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        if self.is_unknown() {
            return Some(self);
        }
        let mut entries = self.entries();
        entries.find(|(name, _)| *name == key).map(|(_, node)| node)
    }

    /// The value at the end of a path of keys.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// The entries of a map; of anything else there are none.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &Node)> {
        let entries: &[(String, Node)] = match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        };
        entries.iter().map(|(key, node)| (key.as_str(), node))
    }

    /// The items of a list, or the one that is there instead of a list.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            Value::Null => &[],
            _ => std::slice::from_ref(self),
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
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

    /// True if it is the text, or if nobody can tell yet.
    pub(crate) fn may_be(&self, text: &str) -> bool {
        self.is_unknown() || self.is(text)
    }

    /// Takes a text that is an object of JSON for that object.
    pub(crate) fn read_json(&mut self) {
        let text = self
            .text()
            .filter(|text| text.trim_start().starts_with('{'));
        if let Some(mut json) = text.and_then(|text| Self::parse(&self.place.file, text).ok()) {
            json.move_to(&self.place);
            *self = json;
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
    /// What CloudFormation looks up when it deploys, nobody knows before.
    pub(crate) fn without_dynamic_references(self) -> Self {
        match self {
            Self::Text(text) if text.contains("{{resolve:") => Self::Unknown,
            other => other,
        }
    }
}

struct Reader<'a> {
    file: Rc<str>,
    events: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: HashMap<usize, Node>,
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
            None => bail!("{} ends in the middle", self.file),
        }
    }

    fn node(&mut self, (event, span): (Event<'a>, Span)) -> Result<Node> {
        let place = Place {
            file: Rc::clone(&self.file),
            line: span.start.line(),
        };
        let (value, anchor, tag) = match event {
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned();
                let value = node.map_or(Value::Null, |node| node.value);
                return Ok(Node { place, value });
            }
            Event::Scalar(text, style, anchor, tag) => {
                let is_null = style == ScalarStyle::Plain
                    && tag.is_none()
                    && matches!(&*text, "" | "~" | "null");
                let value = match is_null {
                    true => Value::Null,
                    false => Value::Text(text.into_owned()),
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
                loop {
                    match self.next()? {
                        (Event::MappingEnd, _) => break,
                        key => {
                            let key = self.node(key)?;
                            let value = self.next()?;
                            let value = self.node(value)?;
                            let Some(name) = key.text() else {
                                bail!("{}:{}: the key is no text", self.file, key.place.line);
                            };
                            let name = name.to_owned();
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
            other => bail!("{}:{}: {other:?} is no value", self.file, place.line),
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
    fn what_cannot_be_read_says_where() {
        let error = Node::parse("t.yaml", "a: 1\nb: [\n")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("t.yaml:"), "{error}");
        assert!(Node::parse("t.yaml", "").is_err());
    }
}
