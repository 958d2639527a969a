//! Actions that know no resource, so that a policy can allow them on everything alone.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use super::pattern::glob;

/// By their services, all in lower case, since IAM compares them without regard to it.
static ACTIONS: LazyLock<HashMap<String, HashSet<String>>> = LazyLock::new(|| {
    let text = include_str!("resourceless.txt").to_lowercase();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(service, actions)| {
            let actions = actions.split_whitespace().map(str::to_owned);
            (service.to_owned(), actions.collect())
        })
        .collect()
});

/// Whether the action can only be allowed on everything.
///
/// Of a name with `*` in it this is only known once the actions are named, which is a rule of its own. Until then it
/// counts as such an action if it matches one; all actions of a service do not.
pub(crate) fn is_without_resource(action: &str) -> bool {
    let action = action.to_lowercase();
    let Some((service, name)) = action.split_once(':') else {
        return false;
    };
    let Some(actions) = ACTIONS.get(service) else {
        return false;
    };
    match name.contains('*') {
        true => name != "*" && actions.iter().any(|known| glob(name, known)),
        false => actions.contains(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_known_by_their_resources() {
        for action in [
            "logs:CreateLogDelivery",
            "logs:*LogDelivery",
            "logs:DescribeResourcePolicies",
            "ecr:GetAuthorizationToken",
            "ECR:getauthorizationtoken",
            "xray:PutTraceSegments",
            "cloudwatch:PutMetricData",
            "sqs:ListQueues",
            "ec2:DescribeSubnets",
            "comprehend:DetectEntities",
            "translate:TranslateText",
        ] {
            assert!(is_without_resource(action), "{action}");
        }
        for action in [
            "dynamodb:PutItem",
            "dynamodb:*",
            "sqs:SendMessage",
            "sqs:SendMessage*",
            "s3:GetObject",
            "lambda:InvokeFunction",
            "kms:Decrypt",
            "nothing:AtAll",
            "*",
        ] {
            assert!(!is_without_resource(action), "{action}");
        }
    }
}
