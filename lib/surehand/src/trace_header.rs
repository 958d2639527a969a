//! X-Ray's trace header, and the W3C form of it.

/// Converts `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1` into a W3C
/// `traceparent`; none if the header has no root.
///
/// A header may have no parent: its sender was not traced, and passes on the root and the decision alone. W3C's form
/// needs one, so one is made of the root, the same for everyone who reads the header.
pub(crate) fn w3c_from_xray(header: &str) -> Option<String> {
    let is_hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let mut root = field(header, "Root")?.splitn(3, '-');
    let (_version, time, unique) = (root.next()?, root.next()?, root.next()?);
    let parent = field(header, "Parent").or_else(|| unique.get(..16))?;
    let flags = if field(header, "Sampled") == Some("1") {
        "01"
    } else {
        "00"
    };
    (is_hex(time, 8) && is_hex(unique, 24) && is_hex(parent, 16))
        .then(|| format!("00-{time}{unique}-{parent}-{flags}"))
}

/// Returns the header's trace id; the header itself if it has none.
pub(crate) fn xray_trace_id(header: &str) -> &str {
    field(header, "Root").unwrap_or(header)
}

fn field<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let mut parts = header.split(';');
    parts.find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
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
        let of_an_untraced_sender = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1";
        assert_eq!(
            w3c_from_xray(of_an_untraced_sender).as_deref(),
            Some("00-5759e988bd862e3fe1be46a994272793-bd862e3fe1be46a9-01")
        );
        for useless in ["", "Root=1-2-3;Parent=4", ";;="] {
            assert_eq!(w3c_from_xray(useless), None, "{useless}");
        }
    }
}
