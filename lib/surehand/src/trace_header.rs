//! X-Ray's trace header, and the W3C form of it.

/// Converts `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1` into a W3C
/// `traceparent`; none if the header has no parent.
pub(crate) fn w3c_from_xray(header: &str) -> Option<String> {
    let field = |name: &str| {
        header
            .split(';')
            .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
    };
    let is_hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let mut root = field("Root")?.splitn(3, '-');
    let (_version, time, unique) = (root.next()?, root.next()?, root.next()?);
    let parent = field("Parent")?;
    let flags = if field("Sampled") == Some("1") {
        "01"
    } else {
        "00"
    };
    (is_hex(time, 8) && is_hex(unique, 24) && is_hex(parent, 16))
        .then(|| format!("00-{time}{unique}-{parent}-{flags}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xray_headers_become_w3c_trace_context() {
        let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
        assert_eq!(
            w3c_from_xray(header).as_deref(),
            Some("00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01")
        );
        for useless in [
            "",
            "Root=1-5759e988-bd862e3fe1be46a994272793",
            "Root=1-2-3;Parent=4",
            ";;=",
        ] {
            assert_eq!(w3c_from_xray(useless), None, "{useless}");
        }
    }
}
