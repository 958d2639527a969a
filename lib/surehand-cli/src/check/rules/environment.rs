//! Variables that a function reads.

use surehand::description::Use;

use crate::{
    application::yaml::Node,
    check::{
        app::App,
        finding::{Findings, rule},
    },
};

pub(crate) fn check(app: &App<'_>, findings: &mut Findings) {
    for function in &app.functions {
        let Some(description) = function.description else {
            continue;
        };
        let place = function.resource.place_of(&["Environment", "Variables"]);
        for variable in &description.variables {
            if variable.required && function.variable(&variable.name).is_none() {
                findings.add(
                    &rule::MISSING_VARIABLE,
                    &place,
                    function.id(),
                    format!("its code reads {}, which is not declared", variable.name),
                );
            }
        }
        for (_, queue) in function.queues() {
            let Some(dead_letters) = app.dead_letter_queue(queue) else {
                continue;
            };
            for name in function.variables_for(Use::DeadLetterQueue) {
                if let Some(url) = function.variable(name)
                    && let Some(text) = url.text()
                    && text != dead_letters.url()
                {
                    findings.add(
                        &rule::PARKS_ELSEWHERE,
                        &url.place,
                        function.id(),
                        format!(
                            "{name} is not the URL of {}, to which {} moves messages",
                            dead_letters.id, queue.id
                        ),
                    );
                }
            }
        }
    }
}

/// Where an emulator listens, for [`check_emulated`].
pub(crate) const ENDPOINT: &str = "http://127.0.0.1:4566";

/// Holds the application as it would be on an emulator, built for `architecture`.
pub(crate) fn check_emulated(app: &App<'_>, architecture: &str, findings: &mut Findings) {
    for function in &app.functions {
        let place = &function.resource.place;
        let endpoint = function.variable("AWS_ENDPOINT_URL");
        if endpoint.is_none_or(|it| !it.is_unknown() && it.text() != Some(ENDPOINT)) {
            findings.add(
                &rule::NO_ENDPOINT,
                endpoint.map_or(place, |it| &it.place),
                function.id(),
                "on an emulator it would call AWS: it does not get the emulator's address",
            );
        }
        let built_for = function.resource.property(&["Architectures"]);
        let items = built_for.map_or(&[][..], Node::items);
        if !items
            .iter()
            .any(|it| it.is_unknown() || it.is(architecture))
        {
            findings.add(
                &rule::NO_ARCHITECTURE,
                built_for.map_or(place, |it| &it.place),
                function.id(),
                "its processor cannot be chosen, and emulators run functions on that of their machine",
            );
        }
    }
}
