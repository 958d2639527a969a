//! What is not in the templates: binaries, profiles, and the SAM CLI's settings.

use crate::{
    application::{
        describe::{Binaries, Descriptions},
        yaml::Place,
    },
    check::{
        app::App,
        finding::{Findings, rule},
    },
};

/// Holds the functions against the workspace that builds them.
pub(crate) fn check_binaries(
    app: &App<'_>,
    binaries: &Binaries,
    descriptions: &Descriptions,
    findings: &mut Findings,
) {
    let mut used: Vec<&str> = Vec::new();
    for function in &app.functions {
        let Some(node) = function.binary else {
            continue;
        };
        let name = node.text().unwrap_or_default();
        used.push(name);
        match binaries.get(name).map(Vec::as_slice) {
            None | Some([]) => findings.add(
                &rule::NO_BINARY,
                &node.place,
                function.id(),
                format!("no package of the workspace has the binary `{name}`"),
            ),
            Some([one, other, ..]) => findings.add(
                &rule::SAME_BINARY,
                &node.place,
                function.id(),
                format!(
                    "the packages {} and {} both have a binary `{name}`",
                    one.package, other.package
                ),
            ),
            Some([_]) => {}
        }
        if let Some(Err(reason)) = descriptions.get(name) {
            findings.add(
                &rule::NOT_DESCRIBED,
                &node.place,
                function.id(),
                format!("`{name}` does not say what it is made of, so that only its resources were checked: {reason}"),
            );
        }
    }
    let of_functions = |package: &str| {
        let mut own = binaries
            .iter()
            .filter(|(name, _)| used.contains(&name.as_str()));
        own.any(|(_, all)| all.iter().any(|it| it.package == package))
    };
    for (name, all) in binaries {
        for binary in all {
            if !used.contains(&name.as_str()) && of_functions(&binary.package) {
                let place = Place {
                    file: binary.manifest.as_str().into(),
                    line: 1,
                };
                let message = format!("no function is made from its binary `{name}`");
                findings.add(&rule::UNUSED_BINARY, &place, &binary.package, message);
            }
        }
    }
}

/// The workspace's manifest: one record's panic must not end the process.
pub(crate) fn check_manifest(text: &str, findings: &mut Findings) {
    let is_unwind = toml::from_str::<toml::Table>(text).is_ok_and(|manifest| {
        let panic = manifest
            .get("profile")
            .and_then(|it| it.get("release"))
            .and_then(|it| it.get("panic"));
        panic.and_then(toml::Value::as_str) == Some("unwind")
    });
    if is_unwind {
        return;
    }
    // The line that says otherwise, or the one under which it is missing.
    let lines = || {
        text.lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line))
    };
    let start = lines().find(|(_, line)| line.starts_with("[profile.release]"));
    let line = start.map_or(1, |(start, _)| {
        let mut own = lines()
            .skip(start)
            .take_while(|(_, line)| !line.starts_with('['));
        let panic = own.find(|(_, line)| line.starts_with("panic"));
        panic.map_or(start, |(line, _)| line)
    });
    let place = Place {
        file: "Cargo.toml".into(),
        line,
    };
    findings.add(
        &rule::PANIC,
        &place,
        "",
        "in a release build a panic ends the process, and with it the other records of the batch",
    );
}

/// samconfig.toml.
pub(crate) fn check_samconfig(text: &str, findings: &mut Findings) {
    let is_cached = |line: &str| {
        let (name, value) = line.split_once('=').unwrap_or_default();
        name.trim() == "cached" && value.trim_start().starts_with("true")
    };
    // It forces the cache.
    let is_sync = |line: &str| {
        let table = line.trim().strip_prefix('[').unwrap_or_default();
        table.split(['.', ']']).nth(1) == Some("sync")
    };
    for (index, line) in text.lines().enumerate() {
        if is_cached(line) || is_sync(line) {
            let place = Place {
                file: "samconfig.toml".into(),
                line: index + 1,
            };
            findings.add(
                &rule::CACHED,
                &place,
                "",
                "SAM's cache would not see changes outside of a function's folder",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(check: impl Fn(&mut Findings)) -> Vec<usize> {
        let mut findings = Findings::default();
        check(&mut findings);
        let found = findings.into_sorted();
        found.iter().map(|finding| finding.place.line).collect()
    }

    #[test]
    fn a_release_must_unwind() {
        for (text, expected) in [
            ("[profile.release]\npanic = \"unwind\"\n", &[][..]),
            ("[profile.release]\nlto = true\npanic = \"abort\"\n", &[3]),
            (
                "[workspace]\n\n[profile.release]\nlto = true\n[profile.dev]\npanic = \"unwind\"\n",
                &[3],
            ),
            ("[workspace]\n", &[1]),
        ] {
            assert_eq!(lines(|f| check_manifest(text, f)), expected, "{text}");
        }
    }

    #[test]
    fn a_build_is_not_cached() {
        let text = "[default.build.parameters]\n# cached = true\nparallel = false\ncached = true\n";
        assert_eq!(lines(|f| check_samconfig(text, f)), [4]);
        assert_eq!(lines(|f| check_samconfig("cached = false\n", f)), [0; 0]);
        let text = "[default.sync.parameters]\nwatch = true\n# [a.sync.parameters]\n[sync.build]\n";
        assert_eq!(lines(|f| check_samconfig(text, f)), [1]);
    }
}
