//! Many runs of functions under faults, none of which may break what is promised, and mutations of
//! what the promises rest on, each of which must.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod simulation {
    mod attempts;
    mod dynamodb;
    mod mutations;
    mod runs;
    mod shop;
}
