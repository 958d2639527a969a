//! What CloudWatch would make of a line with metrics.

use jsonschema::Validator;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    let schema = serde_json::from_str(include_str!("../../data/emf.schema.json")).unwrap();
    jsonschema::validator_for(&schema).unwrap()
});

/// CloudWatch Logs takes 256 KiB per line, including its own 26 bytes.
const MAX_LINE: usize = 256 * 1024 - 26;

/// Sums by metric and dimensions, as `RecordsFailed{function=f,kind=rejected,service=s}`.
pub type Sums = BTreeMap<String, f64>;

/// Adds the metrics of a line, which must follow the specification.
#[track_caller]
pub fn add(sums: &mut Sums, line: &Value) {
    let text = line.to_string();
    let problems: Vec<String> = SCHEMA.iter_errors(line).map(|e| e.to_string()).collect();
    assert!(problems.is_empty(), "{problems:?}: {text}");
    assert!(text.len() <= MAX_LINE);
    let mut names = BTreeSet::new();
    for directive in line["_aws"]["CloudWatchMetrics"].as_array().unwrap() {
        for metric in directive["Metrics"].as_array().unwrap() {
            let name = metric["Name"].as_str().unwrap();
            assert!(names.insert(name), "{name} is there twice: {text}");
            let sum = sum(&line[name]).unwrap_or_else(|| panic!("{name} has no values: {text}"));
            for set in directive["Dimensions"].as_array().unwrap() {
                let mut dimensions: Vec<String> = set
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|dimension| {
                        let dimension = dimension.as_str().unwrap();
                        let value = line[dimension].as_str();
                        let value =
                            value.unwrap_or_else(|| panic!("{dimension} has no value: {text}"));
                        let is_taken = value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
                        assert!(
                            is_taken && !value.trim().is_empty() && value.len() <= 1_024,
                            "{text}"
                        );
                        format!("{dimension}={value}")
                    })
                    .collect();
                dimensions.sort();
                let key = format!("{name}{{{}}}", dimensions.join(","));
                *sums.entry(key).or_default() += sum;
            }
        }
    }
    assert!(names.len() <= 100, "more than 100 metrics: {text}");
}

/// A number, or up to 100 of them.
fn sum(target: &Value) -> Option<f64> {
    match target {
        Value::Array(values) if (1..=100).contains(&values.len()) => {
            values.iter().map(Value::as_f64).sum()
        }
        value => value.as_f64(),
    }
}
