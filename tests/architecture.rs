//! The modules of each crate stand on floors, and import only from below.
//!
//! The floors are written in `ARCHITECTURE.md`, where people read them; these tests read them there, and
//! the imports from the sources.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod architecture {
    mod floors;
    mod imports;
    mod inmemory;
    mod krate;
    mod workspace;
}
