use serde::{Deserialize, Serialize};
use surehand::tables::Document;

#[derive(Serialize, Deserialize, Document)]
enum Choice {
    One { city: String },
}

#[derive(Serialize, Deserialize, Document)]
struct Tuple(String);

#[derive(Document)]
struct Generic<T> {
    city: T,
}

#[derive(Serialize, Deserialize, Document)]
#[serde(tag = "kind")]
struct Tagged {
    city: String,
}

fn main() {}
