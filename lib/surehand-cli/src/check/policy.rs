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

    /// Whether it speaks of the action on the resource, as far as can be told.
    pub(crate) fn covers(&self, action: &str, arn: &str) -> bool {
        self.speaks_of(action, arn) != Some(false)
    }

    /// Whether it denies the action on the resource, whatever is unknown here.
    fn denies(&self, action: &str, arn: &str) -> bool {
        let denies = self.get("Effect").is_some_and(|effect| effect.is("Deny"));
        denies && self.get("Condition").is_none() && self.speaks_of(action, arn) == Some(true)
    }

    /// None if only the deployment or the request decides it.
    fn speaks_of(&self, action: &str, arn: &str) -> Option<bool> {
        match (self.names_action(action), self.names_resource(arn)) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        }
    }

    fn names_action(&self, action: &str) -> Option<bool> {
        // Actions are not case-sensitive, ARNs are.
        let action = action.to_lowercase();
        let is_it = |pattern: &str| named(&pattern.to_lowercase(), &action);
        self.names(["Action", "NotAction"], is_it)
    }

    fn names_resource(&self, arn: &str) -> Option<bool> {
        let is_it = |pattern: &str| match named(pattern, arn) {
            // The account and the partition are known only once it is deployed there.
            Some(false) if named(&anywhere(pattern), arn) != Some(false) => None,
            known => known,
        };
        self.names(["Resource", "NotResource"], is_it)
    }

    /// Whether something is in one list, or else not in the other.
    fn names(
        &self,
        [named, others]: [&str; 2],
        is_it: impl Fn(&str) -> Option<bool>,
    ) -> Option<bool> {
        let any = |list: &Node| {
            let matches = |own: &Node| match own.text() {
                Some(pattern) => is_it(pattern),
                None if own.is_unknown() => None,
                None => Some(false),
            };
            let found: Vec<_> = list.items().iter().map(matches).collect();
            match found.contains(&Some(true)) {
                true => Some(true),
                false if found.contains(&None) => None,
                false => Some(false),
            }
        };
        match (self.get(others), self.get(named)) {
            (Some(others), _) => any(others).map(|is_other| !is_other),
            (None, Some(named)) => any(named),
            (None, None) => Some(false),
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
        has_action && self.names_resource(arn) != Some(false)
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

/// Whether the statements allow the action on the resource, as far as can be told: what is unknown here, and what a
/// condition decides, may allow it, and denies nothing.
pub(crate) fn allow(statements: &[Statement<'_>], action: &str, arn: &str) -> bool {
    let mut statements = statements.iter();
    let is_denied = statements.clone().any(|it| it.denies(action, arn));
    !is_denied && statements.any(|it| it.is_allow() && it.covers(action, arn))
}

/// Whether a pattern of IAM is for this text. None if the request decides it, by a variable of the pattern.
fn named(pattern: &str, text: &str) -> Option<bool> {
    if glob(pattern, text) {
        return Some(true);
    }
    let mut loose = pattern.replace('?', "*");
    while let Some(from) = loose.find("${")
        && let Some(length) = loose[from..].find('}')
    {
        loose.replace_range(from..=from + length, "*");
    }
    match loose != pattern && glob(&loose, text) {
        true => None,
        false => Some(false),
    }
}

/// The same ARN in any partition and account.
fn anywhere(arn: &str) -> String {
    let mut parts: Vec<&str> = arn.splitn(6, ':').collect();
    if let [_, partition, _, _, account, _] = &mut parts[..] {
        (*partition, *account) = ("*", "*");
    }
    parts.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::yaml::Value;

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

    #[test]
    fn what_cannot_be_told_may_allow_and_denies_nothing() {
        let table = "arn:aws:dynamodb:eu-west-1:123456789012:table/shop";
        let allow_one = |statement: &str| {
            let document = Node::parse("p", &format!("Statement: [{statement}]")).unwrap();
            allow(
                &Statement::of(&document).collect::<Vec<_>>(),
                "dynamodb:PutItem",
                table,
            )
        };
        for (is_allowed, statement) in [
            (
                true,
                "{Effect: Allow, Action: 'dynamodb:PutItem', Resource: '*'}",
            ),
            (
                true,
                "{Effect: Allow, Action: 'dynamodb:*Item', Resource: '*:table/shop'}",
            ),
            (
                true,
                "{Effect: Allow, NotAction: 'dynamodb:Get*', Resource: '*'}",
            ),
            (
                true,
                "{Effect: Allow, Action: '*', NotResource: '*:table/other'}",
            ),
            (
                false,
                "{Effect: Allow, Action: 'dynamodb:GetItem', Resource: '*'}",
            ),
            (
                false,
                "{Effect: Allow, Action: 'dynamodb:PutItem', Resource: '*:table/shops'}",
            ),
            (
                false,
                "{Effect: Allow, Action: 'dynamodb:PutItem', Resource: '*:table/shop/index/*'}",
            ),
            (
                false,
                "{Effect: Allow, NotAction: 'dynamodb:*', Resource: '*'}",
            ),
            (
                false,
                "{Effect: Allow, Action: '*', NotResource: '*:table/*'}",
            ),
            // A condition is for the request to fulfil.
            (
                true,
                "{Effect: Allow, Action: '*', Resource: '*', Condition: {'ForAllValues:StringLike': {'dynamodb:LeadingKeys': ['AUDIT#*']}}}",
            ),
            // So is a variable, and a character that can be any.
            (
                true,
                "{Effect: Allow, Action: '*', Resource: 'arn:aws:dynamodb:*:*:table/${aws:PrincipalTag/team}'}",
            ),
            (
                true,
                "{Effect: Allow, Action: 'dynamodb:???Item', Resource: '*'}",
            ),
            (
                false,
                "{Effect: Allow, Action: '*', Resource: 'arn:aws:s3:::${aws:PrincipalTag/team}'}",
            ),
            // The account is that of the deployment.
            (
                true,
                "{Effect: Allow, Action: '*', Resource: 'arn:aws-cn:dynamodb:eu-west-1:210987654321:table/shop'}",
            ),
            (
                false,
                "{Effect: Allow, Action: '*', Resource: 'arn:aws:dynamodb:eu-west-1:210987654321:table/shops'}",
            ),
            (
                false,
                "{Effect: Allow, Action: '*', Resource: '*'}, {Effect: Deny, Action: 'dynamodb:Put*', Resource: '*'}",
            ),
            (
                true,
                "{Effect: Allow, Action: '*', Resource: '*'}, {Effect: Deny, Action: '*', Resource: '*', Condition: {Bool: {'aws:SecureTransport': 'false'}}}",
            ),
            (
                true,
                "{Effect: Allow, Action: '*', Resource: '*'}, {Effect: Deny, Action: '*', Resource: 'arn:aws:dynamodb:*:210987654321:table/shop'}",
            ),
        ] {
            assert_eq!(allow_one(statement), is_allowed, "{statement}");
        }
    }

    #[test]
    fn a_statement_with_unknown_parts_may_be_about_anything() {
        let mut document = Node::parse(
            "p",
            "Statement: [{Effect: Allow, NotAction: [x], Resource: [y]}, {Effect: Deny, Action: '*', Resource: [z]}]",
        )
        .unwrap();
        make_unknown(&mut document, &["x", "y", "z"]);
        let statements: Vec<_> = Statement::of(&document).collect();
        assert!(allow(
            &statements,
            "dynamodb:PutItem",
            "arn:aws:dynamodb:r:1:table/t"
        ));
    }

    fn make_unknown(node: &mut Node, texts: &[&str]) {
        match &mut node.value {
            Value::List(items) => items.iter_mut().for_each(|it| make_unknown(it, texts)),
            Value::Map(entries) => entries
                .iter_mut()
                .for_each(|(_, it)| make_unknown(it, texts)),
            value if value.text().is_some_and(|it| texts.contains(&it)) => *value = Value::Unknown,
            _ => {}
        }
    }
}
