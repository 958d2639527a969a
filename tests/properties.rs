//! What holds for every key, every event and every batch, tried with many that proptest makes.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod properties {
    mod batches;
    mod envelopes;
    mod fingerprints;
    mod json;
    mod keys;
    mod spy;
    mod tables;
}

// What is made of whole inputs is held to the promises that the fuzz targets check.
