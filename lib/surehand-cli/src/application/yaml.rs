//! YAML in which each value knows its line, with CloudFormation's short forms made long.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fmt,
    rc::Rc,
};

use anyhow::{Result, bail};
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Number, json};

/// A document that is nested deeper than this is refused.
const MAX_DEPTH: usize = 128;

/// How many bytes a document may have: CloudFormation takes a template of at most 1 MB.
pub(crate) const MAX_BYTES: usize = 2 * 1024 * 1024;

/// How many values a document may have.
const MAX_VALUES: usize = 200_000;

/// How many values the aliases of a document may repeat. Aliases of aliases grow exponentially.
const MAX_REPEATED: usize = 100_000;

/// How many lines in brackets may stand in the column of their key, see [`Node::parse`].
const MAX_BRACKETS: usize = 1_000;

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
    /// Reads `text`, which must be one document.
    ///
    /// YAML wants each line of a list in brackets to be indented further than the list's key. Many begin an element or
    /// close the list in the column of the key, and what SAM reads templates with takes it. So does this.
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self> {
        if text.len() > MAX_BYTES {
            bail!("{file} has more than {MAX_BYTES} bytes");
        }
        let mut text = Cow::Borrowed(text);
        let mut indented = HashSet::new();
        while indented.len() < MAX_BRACKETS {
            let error = match Self::read(file, &text) {
                Ok(node) => return Ok(node),
                Err(error) => error,
            };
            let Some(syntax) = error.downcast_ref::<Syntax>() else {
                return Err(error);
            };
            let Some(better) = syntax.indented(&text) else {
                return Err(error);
            };
            if !indented.insert(syntax.line) {
                return Err(
                    error.context("a line in brackets is not indented further than its key")
                );
            }
            text = Cow::Owned(better);
        }
        bail!("{file} has more than {MAX_BRACKETS} lines in brackets in the column of their key");
    }

    fn read(file: &str, text: &str) -> Result<Self> {
        let mut reader = Reader {
            file: file.into(),
            events: Parser::new_from_str(text),
            anchors: HashMap::new(),
            depth: 0,
            values: 0,
            repeated: 0,
        };
        let node = loop {
            match reader.next()? {
                (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
                (Event::StreamEnd | Event::DocumentEnd, _) => bail!("{file} is empty"),
                first => break reader.node(first)?,
            }
        };
        loop {
            match reader.next()? {
                (Event::StreamEnd, _) => return Ok(node),
                (Event::DocumentEnd | Event::Nothing, _) => {}
                (_, span) => bail!(
                    "{file}:{}: a second document begins, and only one is read",
                    span.start.line()
                ),
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

    /// Replaces a text that is a JSON object by that object. Fails if the text begins as one and cannot be read.
    pub(crate) fn read_json(&mut self) -> Result<()> {
        let text = self
            .text()
            .filter(|text| text.trim_start().starts_with('{'));
        if let Some(text) = text {
            let mut json = Self::parse("line", text)?;
            json.move_to(&self.place);
            *self = json;
        }
        Ok(())
    }

    /// Returns how many values it holds, including itself.
    pub(crate) fn count(&self) -> usize {
        self.value.count()
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

    /// Returns how many values it holds, including itself.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::List(items) => 1 + items.iter().map(Node::count).sum::<usize>(),
            Self::Map(entries) => 1 + entries.iter().map(|(_, it)| it.count()).sum::<usize>(),
            _ => 1,
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
    values: usize,
    repeated: usize,
}

/// What is not YAML.
#[derive(Debug)]
struct Syntax {
    file: String,
    line: usize,
    what: String,
}

impl fmt::Display for Syntax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, what } = self;
        write!(f, "{file}:{line}: {what}")
    }
}

impl std::error::Error for Syntax {}

impl Syntax {
    /// Returns the text with this line indented further, if that may be what is wrong: only lines in brackets have an
    /// indentation that is wrong by itself.
    fn indented(&self, text: &str) -> Option<String> {
        let start = match self.line.checked_sub(2) {
            None => 0,
            Some(before) => text.match_indices('\n').nth(before)?.0 + 1,
        };
        let line = text[start..].trim_start_matches(' ');
        let is_in_brackets = self.what.starts_with("invalid indentation");
        (is_in_brackets || line.starts_with([']', '}']))
            .then(|| format!("{} {}", &text[..start], &text[start..]))
    }
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span)> {
        match self.events.next() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(Syntax {
                file: self.file.to_string(),
                line: error.marker().line(),
                what: error.info().to_owned(),
            }
            .into()),
            None => bail!("{} ends in the middle of a value", self.file),
        }
    }

    fn node(&mut self, first: (Event<'a>, Span)) -> Result<Node> {
        if self.depth == MAX_DEPTH {
            let line = first.1.start.line();
            bail!(
                "{}:{line}: it is nested deeper than {MAX_DEPTH} levels",
                self.file
            );
        }
        self.values += 1;
        if self.values > MAX_VALUES {
            bail!("{} has more than {MAX_VALUES} values", self.file);
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
                        "{}:{}: its aliases repeat more than {MAX_REPEATED} values",
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
                let entries = self.merged(entries)?;
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

    /// With the entries of the maps that `<<` names, where the map has none of its own. SAM merges them as well.
    fn merged(&self, mut entries: Vec<(String, Node)>) -> Result<Vec<(String, Node)>> {
        let Some(at) = entries.iter().position(|(name, _)| name == MERGE) else {
            return Ok(entries);
        };
        let (_, merged) = entries.remove(at);
        let mut names: HashSet<String> = entries.iter().map(|(name, _)| name.clone()).collect();
        for map in merged.items() {
            let Value::Map(others) = &map.value else {
                bail!("{}:{}: `{MERGE}` takes maps", self.file, merged.place.line);
            };
            let others = others.iter().filter(|(name, _)| names.insert(name.clone()));
            entries.extend(others.cloned());
        }
        Ok(entries)
    }
}

/// The key that merges other maps into its own.
const MERGE: &str = "<<";

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
        assert_eq!(
            error(&deep),
            "t.yaml:1: it is nested deeper than 128 levels"
        );
        let mut many = "a0: &a0 [x]\n".to_owned();
        for level in 0..40 {
            many.push_str(&format!("a{0}: &a{0} [*a{level}, *a{level}]\n", level + 1));
        }
        let repeated = error(&many);
        let end = ": its aliases repeat more than 100000 values";
        assert!(repeated.ends_with(end), "{repeated}");
        assert_eq!(
            error(&format!("[{}]", "1,".repeat(MAX_VALUES))),
            "t.yaml has more than 200000 values"
        );
        assert_eq!(
            error(&" ".repeat(MAX_BYTES + 1)),
            "t.yaml has more than 2097152 bytes"
        );
        assert_eq!(
            error("a: 1\n---\na: 2\n"),
            "t.yaml:2: a second document begins, and only one is read"
        );
    }

    /// The last of two equal keys would be deployed, and the first one be checked.
    #[test]
    fn a_key_that_is_there_twice_is_an_error() {
        let error = |text: &str| Node::parse("t.yaml", text).unwrap_err().to_string();
        for text in [
            "a: 1\n\"a\": 2",
            "{a: 1,\n a: 2}",
            "{\"a\": 1,\n \"a\": 2}",
            "a: &x {b: 1}\na: *x",
        ] {
            assert_eq!(
                error(text),
                "t.yaml:2: the key `a` is already in this map: remove one",
                "{text}"
            );
        }
        assert_eq!(
            error("x:\n  a: 1\n  b: 2\n  a: 3"),
            "t.yaml:4: the key `a` is already in this map: remove one"
        );
        let mut json = Node::parse("t.yaml", "{p: '{\"a\": 1, \"a\": 2}'}").unwrap();
        let Value::Map(entries) = &mut json.value else {
            panic!("a map");
        };
        let error = entries[0].1.read_json().unwrap_err().to_string();
        assert_eq!(
            error,
            "line:1: the key `a` is already in this map: remove one"
        );
    }

    #[test]
    fn maps_are_merged_as_sam_merges_them() {
        let text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], x: 3}\nd:\n  <<: *b\n  w: 4\n";
        let node = Node::parse("t.yaml", text).unwrap();
        let number = |path: &[&str]| node.at(path).and_then(Node::number);
        assert_eq!(number(&["c", "x"]), Some(3));
        assert_eq!(number(&["c", "y"]), Some(1));
        assert_eq!(number(&["c", "z"]), Some(2));
        assert_eq!(number(&["d", "z"]), Some(2));
        assert_eq!(number(&["d", "w"]), Some(4));
        assert_eq!(node.get("c").unwrap().entries().count(), 3);
        assert!(Node::parse("t.yaml", "a: {<<: 1}").is_err());
    }

    #[test]
    fn lines_in_brackets_may_begin_in_the_column_of_their_key() {
        for text in [
            "a:\n  b: [\n    'x',\n    'y'\n  ]\n  c: z\n",
            "a:\n  b: [\n    \"x\",\n    \"y\"\n  ]\n  c: z\n",
            "a:\n  b: [\n    x,\n    y\n  ]\n  c: z\n",
            "a:\n  b: [\n    x,\n    y,\n  ]\n  c: z\n",
            "a:\n  b: [\n  x,\n  y\n  ]\n  c: z\n",
            "a:\n  b: [\n  'x',\n  \"y\"\n  ]\n  c: z\n",
            "a:\n  b: ['x',\n  'y']\n  c: z\n",
        ] {
            let node =
                Node::parse("t.yaml", text).unwrap_or_else(|error| panic!("{error}: {text}"));
            let items = node.at(&["a", "b"]).unwrap().items();
            let items: Vec<_> = items.iter().filter_map(Node::text).collect();
            assert_eq!(items, ["x", "y"], "{text}");
            let last = node.at(&["a", "c"]).unwrap();
            assert_eq!(last.text(), Some("z"), "{text}");
            assert_eq!(last.place.line, text.lines().count(), "{text}");
        }
        let error = Node::parse("t.yaml", "a: [\n]]\n").unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "a line in brackets is not indented further than its key: t.yaml:2: misplaced bracket"
        );
    }
}
