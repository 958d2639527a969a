//! A stub
