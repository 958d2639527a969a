//! The types of parameters.

use crate::application::yaml::{Node, Value};

/// The value that a parameter of the declared type has when it is given this one.
pub(super) fn typed(declared: &Node, given: Node) -> Node {
    if is_hidden(declared) {
        return Node {
            value: Value::Unknown,
            ..given
        };
    }
    let kind = declared.get("Type").and_then(Node::text).unwrap_or("");
    let is_list = kind == "CommaDelimitedList" || kind.starts_with("List<");
    match given.text() {
        Some(text) if is_list => {
            let items = text.split(',').map(|item| Node {
                place: given.place.clone(),
                value: Value::Text(item.trim().to_owned()),
            });
            let value = Value::List(items.collect());
            Node { value, ..given }
        }
        _ => given,
    }
}

/// Whether the value of a parameter cannot be told from what it is given: it is given the name of a value that Systems
/// Manager holds, or CloudFormation does not show it.
pub(crate) fn is_hidden(declared: &Node) -> bool {
    let kind = declared.get("Type").and_then(Node::text).unwrap_or("");
    let is_echoed = declared.get("NoEcho").is_none_or(|it| it.is("false"));
    kind.starts_with("AWS::SSM::Parameter::Value<") || !is_echoed
}
