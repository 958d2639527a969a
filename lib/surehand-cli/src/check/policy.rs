//! Who may do what: the statements of roles and of queues.

use super::pattern::glob;
use crate::application::yaml::{Node, Place};

/// A statement of a policy.
#[derive(Debug, Clone)]
pub(crate) struct Statement<'a> {
    node: &'a Node,
}

impl<'a> Statement<'a> {
    /// The statements of a policy document.
    pub(crate) fn of(document: &'a Node) -> impl Iterator<Item = Self> {
        let statements = document.get("Statement").map_or(&[][..], Node::items);
        statements.iter().map(|node| Self { node })
    }

    pub(crate) fn place(&self) -> &'a Place {
        &self.node.place
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a Node> {
        self.node.get(name)
    }

    pub(crate) fn is_allow(&self) -> bool {
        self.get("Effect")
            .is_some_and(|effect| effect.may_be("Allow"))
    }

    pub(crate) fn actions(&self) -> &'a [Node] {
        self.get("Action").map_or(&[], Node::items)
    }

    pub(crate) fn resources(&self) -> &'a [Node] {
        self.get("Resource").map_or(&[], Node::items)
    }

    /// Whether it speaks of the action, and of the resource.
    pub(crate) fn covers(&self, action: &str, arn: &str) -> bool {
        self.names_action(action) && self.names_resource(arn)
    }

    fn names_action(&self, action: &str) -> bool {
        // Actions are not case-sensitive, ARNs are.
        let action = action.to_lowercase();
        let is_it = |pattern: &str| glob(&pattern.to_lowercase(), &action);
        self.names(["Action", "NotAction"], is_it)
    }

    fn names_resource(&self, arn: &str) -> bool {
        let is_it = |pattern: &str| glob(pattern, arn);
        self.names(["Resource", "NotResource"], is_it)
    }

    /// Whether something is in one list, or else not in the other.
    fn names(&self, [named, others]: [&str; 2], is_it: impl Fn(&str) -> bool) -> bool {
        let matches = |own: &Node| own.text().map_or(own.is_unknown(), &is_it);
        let any = |list: &Node| list.items().iter().any(matches);
        match self.get(others).filter(|it| !it.is_unknown()) {
            Some(others) => !any(others),
            None => self.get(named).is_some_and(any),
        }
    }

    /// Whether it speaks of the resource, and of some action that its service has: a permission on everything
    /// may be one for another service's actions alone.
    pub(crate) fn concerns(&self, arn: &str) -> bool {
        let service = arn.split(':').nth(2).unwrap_or_default();
        let is_of_service = |own: &Node| match own.text() {
            Some(action) => {
                let of = action.split(':').next().unwrap_or_default();
                glob(&of.to_lowercase(), service)
            }
            None => own.is_unknown(),
        };
        let has_action =
            self.get("NotAction").is_some() || self.actions().iter().any(is_of_service);
        has_action && self.names_resource(arn)
    }

    /// Whether it is about what this service does, or about what everyone does.
    pub(crate) fn is_about(&self, service: &str) -> bool {
        self.get("Principal").is_some_and(Node::is_unknown)
            || (self.principals().iter()).any(|it| *it == "*" || *it == service)
    }

    /// The services that a queue's statement is about; `*` for all.
    pub(crate) fn principals(&self) -> Vec<&'a str> {
        let Some(principal) = self.get("Principal") else {
            return Vec::new();
        };
        match principal.text() {
            Some(everybody) => vec![everybody],
            None => (principal.entries())
                .flat_map(|(_, node)| node.items())
                .filter_map(Node::text)
                .collect(),
        }
    }

    /// The ARNs that `aws:SourceArn` is held against; none if it is not asked for.
    pub(crate) fn source_arns(&self) -> Option<Vec<&'a Node>> {
        let tests = self.get("Condition")?.entries();
        let arns: Vec<&Node> = tests
            .filter(|(test, _)| {
                ["ArnEquals", "ArnLike", "StringEquals", "StringLike"].contains(test)
            })
            .flat_map(|(_, test)| test.entries())
            .filter(|(key, _)| key.eq_ignore_ascii_case("aws:SourceArn"))
            .flat_map(|(_, arns)| arns.items())
            .collect();
        (!arns.is_empty()).then_some(arns)
    }

    /// Whether it denies what comes without TLS.
    pub(crate) fn denies_insecure_transport(&self) -> bool {
        let denies = (self.get("Effect")).is_some_and(|effect| effect.may_be("Deny"));
        let secure = self
            .get("Condition")
            .and_then(|tests| tests.at(&["Bool", "aws:SecureTransport"]));
        denies && secure.is_some_and(|value| value.may_be("false"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_matched_as_iam_does() {
        let document = Node::parse(
            "p",
            "
Statement:
  - Effect: Allow
    Action: sqs:SendMessage*
    Resource: ['arn:aws:sqs:r:1:a', 'arn:aws:sqs:r:1:b-*']
  - Effect: Deny
    Principal: '*'
    Action: sqs:*
    Resource: '*'
    Condition: {Bool: {aws:SecureTransport: 'false'}}
  - Effect: Allow
    Principal: {Service: events.amazonaws.com}
    Condition: {ArnEquals: {aws:SourceArn: [x, y]}}
",
        )
        .unwrap();
        let [send, deny, rule] = &Statement::of(&document).collect::<Vec<_>>()[..] else {
            panic!("three statements");
        };
        assert!(send.covers("sqs:SendMessage", "arn:aws:sqs:r:1:a"));
        assert!(send.covers("SQS:sendmessagebatch", "arn:aws:sqs:r:1:b-2"));
        assert!(!send.covers("sqs:ReceiveMessage", "arn:aws:sqs:r:1:a"));
        assert!(!send.covers("sqs:SendMessage", "arn:aws:sqs:r:1:ab"));
        assert!(send.concerns("arn:aws:sqs:r:1:a"));
        assert!(!send.concerns("arn:aws:sqs:r:1:ab") && !send.concerns("arn:aws:dynamodb:r:1:a"));
        assert!(deny.concerns("arn:aws:sqs:r:1:a") && !deny.concerns("arn:aws:dynamodb:r:1:a"));
        assert!(rule.is_about("events.amazonaws.com") && !rule.is_about("s3.amazonaws.com"));
        assert!(send.is_allow() && !deny.is_allow());
        assert!(deny.denies_insecure_transport() && !send.denies_insecure_transport());
        assert_eq!(deny.principals(), ["*"]);
        assert_eq!(rule.principals(), ["events.amazonaws.com"]);
        assert_eq!(rule.source_arns().unwrap().len(), 2);
        assert!(send.source_arns().is_none());
    }
}
