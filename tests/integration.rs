//! The framework as functions use it: Lambda's events in, Lambda's responses out, without AWS.

mod integration {
    mod check;
    mod dispositions;
    mod forms;
    mod replies;
    mod responses;
    mod script;
    mod stores;
}

// What other test targets use as well.
#[path = "support/dynamodb.rs"]
mod dynamodb;
#[path = "support/fencing.rs"]
mod fencing;
