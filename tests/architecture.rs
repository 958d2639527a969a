//! What is written about the sources, held to the sources as a parser reads them.
//!
//! The modules of each crate stand on the floors that `ARCHITECTURE.md` lists, and import only from below.
//! Each fault that is known has a test.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod architecture {
    mod api;
    mod floors;
    mod imports;
    mod inmemory;
    mod known_failures;
    mod krate;
    mod workspace;
}
