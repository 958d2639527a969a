//! `Globals` of SAM.

use crate::application::yaml::{Node, Value};

/// Merges as SAM does: maps by key, lists one after the other; any other value of the function
/// overrides the global one.
pub(super) fn merge(globals: &Node, own: &Node) -> Node {
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
