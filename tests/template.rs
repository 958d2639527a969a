//! What the templates must hold, or events are lost.

#[test]
fn placeholder() {}
