//! What an ARN says of where its resource is.

/// The domain of the partitions `aws` and `aws-us-gov`.
const DOMAIN: &str = "amazonaws.com";
/// The domains of the other partitions. A partition is the second part of an ARN.
const OTHER_DOMAINS: [(&str, &str); 6] = [
    ("aws-cn", "amazonaws.com.cn"),
    ("aws-eusc", "amazonaws.eu"),
    ("aws-iso", "c2s.ic.gov"),
    ("aws-iso-b", "sc2s.sgov.gov"),
    ("aws-iso-e", "cloud.adc-e.uk"),
    ("aws-iso-f", "csp.hci.ic.gov"),
];

/// Returns the URL of a queue: `https://sqs.eu-west-1.amazonaws.com/123456789012/orders` for
/// `arn:aws:sqs:eu-west-1:123456789012:orders`. None if the ARN is not that of a queue.
///
/// A client sends the URL in the request's body and connects to its own endpoint. The URL therefore
/// also works with an emulator, and in a partition that is not known here.
pub fn queue_url(arn: &str) -> Option<String> {
    let mut parts = arn.splitn(6, ':');
    let (_arn, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
    let (region, account, name) = (parts.next()?, parts.next()?, parts.next()?);
    let domain = OTHER_DOMAINS.iter().find(|(name, _)| *name == partition);
    let domain = domain.map_or(DOMAIN, |(_, domain)| domain);
    (service == "sqs").then(|| format!("https://sqs.{region}.{domain}/{account}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_urls_come_from_arns() {
        for (arn, url) in [
            (
                "arn:aws:sqs:eu-west-1:1:orders.fifo",
                "https://sqs.eu-west-1.amazonaws.com/1/orders.fifo",
            ),
            (
                "arn:aws-cn:sqs:cn-north-1:1:q",
                "https://sqs.cn-north-1.amazonaws.com.cn/1/q",
            ),
            (
                "arn:aws-us-gov:sqs:us-gov-west-1:1:q",
                "https://sqs.us-gov-west-1.amazonaws.com/1/q",
            ),
            (
                "arn:aws-eusc:sqs:eusc-de-east-1:1:q",
                "https://sqs.eusc-de-east-1.amazonaws.eu/1/q",
            ),
            (
                "arn:aws-iso-b:sqs:us-isob-east-1:1:q",
                "https://sqs.us-isob-east-1.sc2s.sgov.gov/1/q",
            ),
        ] {
            assert_eq!(queue_url(arn).as_deref(), Some(url));
        }
        assert_eq!(queue_url("arn:aws:dynamodb:eu-west-1:1:table/t"), None);
        assert_eq!(queue_url("orders"), None);
    }
}
