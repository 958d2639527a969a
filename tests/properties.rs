//! What holds for every key, every event and every batch, tried with many that proptest makes.

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
