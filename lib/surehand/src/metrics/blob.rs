//! Metrics as lines in CloudWatch's
//! [embedded metric format](https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html).
//!
//! A line has one value for each name. So all metrics of an invocation go into one line, unless one of
//! them has several values for a dimension, as when records failed for two reasons, or more than a
//! line may hold.

use super::{
    Unit,
    names::{FUNCTION, MAX_METRICS, MAX_VALUE, MAX_VALUES, REQUEST_ID, SERVICE},
};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};
use std::borrow::Cow;

/// The values of one metric with one value for each of its dimensions.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) unit: Unit,
    /// The dimensions besides `service` and `function`.
    pub(super) dimensions: Vec<(String, String)>,
    /// Whether it is also written under `service` and `function` alone.
    pub(super) is_also_without: bool,
    pub(super) values: Values,
}

#[derive(Debug)]
pub(super) enum Values {
    Sum(f64),
    Each(Vec<f64>),
}

impl Values {
    pub(super) fn none(unit: Unit) -> Self {
        match unit {
            Unit::Count => Self::Sum(0.0),
            _ => Self::Each(Vec::new()),
        }
    }

    pub(super) fn add(&mut self, value: f64) {
        match self {
            Self::Sum(sum) => *sum += value,
            Self::Each(all) => all.push(value),
        }
    }
}

/// The members that all lines of an invocation have.
pub(super) struct Constant<'a> {
    pub(super) namespace: &'a str,
    pub(super) service: &'a str,
    pub(super) function: &'a str,
    pub(super) request_id: &'a str,
    pub(super) now_ms: u64,
}

pub(super) fn lines(constant: &Constant<'_>, all: &[Series]) -> Vec<String> {
    let mut blobs: Vec<Blob<'_>> = Vec::new();
    for piece in all.iter().flat_map(pieces) {
        match blobs.iter_mut().find(|blob| blob.has_room_for(&piece)) {
            Some(blob) => blob.pieces.push(piece),
            None => blobs.push(Blob {
                pieces: vec![piece],
            }),
        }
    }
    let lines = blobs.iter().map(|blob| blob.line(constant));
    lines.collect()
}

/// A part of a series that fits in a line.
struct Piece<'a> {
    series: &'a Series,
    values: &'a [f64],
}

fn pieces(series: &Series) -> impl Iterator<Item = Piece<'_>> {
    let values = match &series.values {
        Values::Sum(sum) => std::slice::from_ref(sum),
        Values::Each(values) => values,
    };
    values
        .chunks(MAX_VALUES)
        .map(move |values| Piece { series, values })
}

struct Blob<'a> {
    pieces: Vec<Piece<'a>>,
}

impl Blob<'_> {
    fn has_room_for(&self, new: &Piece<'_>) -> bool {
        let goes_with = |there: &Piece<'_>| {
            let (there, new) = (there.series, new.series);
            let has_other_value = |name: &str, value: &str| {
                let mut dimensions = there.dimensions.iter();
                dimensions.any(|(known, other)| known == name && other != value)
            };
            let is_dimension =
                |series: &Series, name: &str| series.dimensions.iter().any(|(d, _)| d == name);
            there.name != new.name
                && !is_dimension(there, &new.name)
                && !is_dimension(new, &there.name)
                && !(new.dimensions.iter()).any(|(name, value)| has_other_value(name, value))
        };
        self.pieces.len() < MAX_METRICS && self.pieces.iter().all(goes_with)
    }

    fn line(&self, constant: &Constant<'_>) -> String {
        let line = Line {
            constant,
            pieces: &self.pieces,
        };
        // Serializing these values cannot fail.
        serde_json::to_string(&line).unwrap_or_default()
    }
}

struct Line<'a> {
    constant: &'a Constant<'a>,
    pieces: &'a [Piece<'a>],
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let constant = self.constant;
        let mut line = serializer.serialize_map(None)?;
        let metadata = json!({
            "Timestamp": constant.now_ms,
            "CloudWatchMetrics": self.directives(),
        });
        line.serialize_entry("_aws", &metadata)?;
        line.serialize_entry(SERVICE, &dimension_value(constant.service))?;
        line.serialize_entry(FUNCTION, &dimension_value(constant.function))?;
        let mut dimensions: Vec<_> = self
            .pieces
            .iter()
            .flat_map(|piece| &piece.series.dimensions)
            .collect();
        dimensions.sort_unstable();
        dimensions.dedup();
        for (name, value) in dimensions {
            line.serialize_entry(name, &dimension_value(value))?;
        }
        for Piece { series, values } in self.pieces {
            match values {
                [value] => line.serialize_entry(&series.name, &number(*value))?,
                values => {
                    let values: Vec<Value> = values.iter().copied().map(number).collect();
                    line.serialize_entry(&series.name, &values)?;
                }
            }
        }
        line.serialize_entry(REQUEST_ID, constant.request_id)?;
        line.end()
    }
}

impl Line<'_> {
    /// Returns one directive for all metrics of the same dimensions.
    fn directives(&self) -> Vec<Value> {
        let mut directives: Vec<(Value, Vec<Value>)> = Vec::new();
        for Piece { series, .. } in self.pieces {
            let dimensions = dimension_sets(series);
            let metric = json!({ "Name": series.name, "Unit": series.unit.as_str() });
            match directives.iter_mut().find(|(sets, _)| *sets == dimensions) {
                Some((_, metrics)) => metrics.push(metric),
                None => directives.push((dimensions, vec![metric])),
            }
        }
        let directive = |(dimensions, metrics)| {
            json!({
                "Namespace": self.constant.namespace,
                "Dimensions": dimensions,
                "Metrics": Value::Array(metrics),
            })
        };
        directives.into_iter().map(directive).collect()
    }
}

fn dimension_sets(series: &Series) -> Value {
    let base = [SERVICE, FUNCTION];
    if series.dimensions.is_empty() {
        return json!([base]);
    }
    let names = series.dimensions.iter().map(|(name, _)| name.as_str());
    let all: Vec<&str> = base.into_iter().chain(names).collect();
    if series.is_also_without {
        json!([base, all])
    } else {
        json!([all])
    }
}

/// CloudWatch takes printable ASCII that is not blank and does not begin with a colon. For an
/// invalid value it would drop the whole line.
fn dimension_value(value: &str) -> Cow<'_, str> {
    let is_taken = |c: char| (' '..='~').contains(&c);
    let is_blank = value.trim().is_empty();
    if !is_blank
        && value.len() <= MAX_VALUE
        && value.chars().all(is_taken)
        && !value.starts_with(':')
    {
        return Cow::Borrowed(value);
    }
    if is_blank {
        return Cow::Borrowed("unknown");
    }
    let taken = value.chars().take(MAX_VALUE).enumerate();
    let taken = taken.map(|(index, c)| match c {
        ':' if index == 0 => '_',
        c if is_taken(c) => c,
        _ => '_',
    });
    Cow::Owned(taken.collect())
}

/// Writes whole numbers without a fraction: most are counts.
fn number(value: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        return (value as i64).into();
    }
    value.into()
}
