//! How functions make the idempotency keys of events.

use anyhow::{Context as _, Result, anyhow, bail};
use surehand::{IdempotencyKey, Metadata, description::IdempotencySettings};

use super::{binary::binary, context::Context};
use crate::{
    application::{
        describe::{self, Descriptions},
        project::Project,
        templates::Templates,
    },
    cloud::Cloud,
};

/// What is known of the functions' keys.
pub(super) enum Keys {
    /// They are made as the library makes them unless the code says otherwise.
    OfEvents,
    /// What the local builds of the functions say, by the functions' names; asked once.
    Described {
        project: Project,
        descriptions: Descriptions,
    },
    /// Nothing, since the application is not here.
    Unknown(String),
}

impl Keys {
    /// Builds the application in this folder, and asks its functions.
    pub(super) async fn described(context: &Context<'_>) -> Result<Self> {
        let project = match Project::here() {
            Ok(project) => project,
            Err(error) => return Ok(Self::Unknown(format!("{error:#}"))),
        };
        let templates = Templates::read(&project)?;
        let output = project.state()?.join("rehearsal");
        let (_, descriptions) =
            describe::functions(&project, &templates, output, |it| context.progress.task(it))
                .await?;
        Ok(Self::Described {
            project,
            descriptions,
        })
    }

    /// The key that a function claims for an event.
    pub(super) fn key(
        &self,
        cloud: &Cloud,
        function: &str,
        event: &Metadata,
    ) -> Option<IdempotencyKey> {
        match self.settings(cloud, function).ok()? {
            Some(settings) => settings.key_of(function, event),
            None => Some(IdempotencyKey::of_event(function, event)),
        }
    }

    /// # Errors
    /// Why the keys that a function claims for events are not known, and what to do.
    pub(super) fn check(&self, cloud: &Cloud, function: &str) -> Result<()> {
        let Some(settings) = self.settings(cloud, function)? else {
            return Ok(());
        };
        // Any event would do: it is the function's code that decides, or nothing does.
        match settings.key_of(function, &Metadata::new("1")) {
            Some(_) => Ok(()),
            None if settings.key == "custom" => bail!(
                "{function} makes its idempotency keys by code of its own (`Idempotency::key`), so that its outcomes cannot \
                 be looked up"
            ),
            None => bail!(
                "the keys of {function} are of the style `{}`, which this command does not know: use the version of \
                 `surehand` that the function is built with",
                settings.style
            ),
        }
    }

    /// How a function claims; none if that was not asked.
    fn settings(&self, cloud: &Cloud, function: &str) -> Result<Option<&IdempotencySettings>> {
        let advice = "run this in the folder of its application, or pass --event-keys if its code sets neither a key, nor \
                      a scope, nor a style of keys";
        let (project, descriptions) = match self {
            Self::OfEvents => return Ok(None),
            Self::Unknown(why) => {
                bail!("how {function} makes its idempotency keys is not known ({why}): {advice}")
            }
            Self::Described {
                project,
                descriptions,
            } => (project, descriptions),
        };
        let description = binary(cloud, project, function).and_then(|binary| {
            let known = descriptions.get(&binary);
            let known =
                known.with_context(|| format!("no package here has the binary {binary}"))?;
            known
                .as_ref()
                .map_err(|why| anyhow!("{binary} does not say: {why}"))
        });
        let description = description.with_context(|| {
            format!("how {function} makes its idempotency keys is not known: {advice}")
        })?;
        let settings = description.idempotency.as_ref().with_context(|| {
            format!(
                "{function} is not idempotent, so that it keeps no record of what it has handled"
            )
        })?;
        Ok(Some(settings))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};
    use surehand::description::Description;

    use super::*;
    use crate::local::emulator::{self, Key};

    const TEMPLATE: &str = "
Resources:
  Worker:
    Type: AWS::Serverless::Function
    Metadata: {BuildProperties: {Binary: worker}}
";

    fn described(idempotency: &Value) -> Description {
        let description = json!({
            "surehand": "0.1.0", "source": "sqs", "handlers": [], "publishes": [],
            "batch": {"concurrency": 10, "on_park": "proceed", "max_attempts": 5, "backoff_base_ms": 1,
                      "backoff_cap_ms": 2, "backoff_factor": 6, "backoff_least_percent": 75, "margin_ms": null},
            "idempotency": idempotency, "dead_letters": null, "redelivery": null, "variables": [],
        });
        serde_json::from_value(description).unwrap()
    }

    /// A ramp that looked under another key than the function claims would wait in vain.
    #[test]
    fn a_ramp_looks_under_the_keys_that_the_function_claims_or_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("template.yaml"), TEMPLATE).unwrap();
        fs::write(folder.path().join("Cargo.toml"), "[workspace]\n").unwrap();
        let project = Project::find(folder.path()).unwrap();
        let cloud = Cloud {
            config: emulator::config("http://127.0.0.1:1", &Key::new().unwrap()),
            stack: None,
        };
        let keys = |description| Keys::Described {
            project: project.clone(),
            descriptions: [("worker".to_owned(), description)].into(),
        };
        let settings = |key: &str, style: &str, scope: Option<&str>| json!({"store": "dynamodb", "key": key, "style": style, "scope": scope, "expires_after_s": 1});
        let event = Metadata::new("e");
        for (style, scope, expected) in [
            ("sha256", None, "shop-worker#"),
            ("sha256", Some("mails"), "mails#"),
            ("powertools", Some("mails"), "mails#"),
        ] {
            let keys = keys(Ok(described(&settings("event_id", style, scope))));
            keys.check(&cloud, "shop-worker").unwrap();
            let key = keys.key(&cloud, "shop-worker", &event).unwrap();
            assert!(key.as_str().starts_with(expected), "{key}");
            let digest = if style == "sha256" { 64 } else { 32 };
            assert_eq!(key.as_str().len(), expected.len() + digest, "{key}");
        }
        for (keys, function, says) in [
            (
                keys(Ok(described(&settings("custom", "sha256", None)))),
                "shop-worker",
                "makes its idempotency keys by code of its own (`Idempotency::key`)",
            ),
            (
                keys(Ok(described(&settings("event_id", "newer", None)))),
                "shop-worker",
                "of the style `newer`, which this command does not know",
            ),
            (
                keys(Ok(described(&Value::Null))),
                "shop-worker",
                "shop-worker is not idempotent",
            ),
            (
                keys(Err("it ended without a message".to_owned())),
                "shop-worker",
                "worker does not say: it ended without a message",
            ),
            (
                keys(Ok(described(&settings("event_id", "sha256", None)))),
                "other",
                "no function `other` in",
            ),
            (
                Keys::Unknown("no template.yaml".to_owned()),
                "shop-worker",
                "(no template.yaml): run this in the folder of its application, or pass --event-keys",
            ),
        ] {
            let error = format!("{:#}", keys.check(&cloud, function).unwrap_err());
            assert!(error.contains(says), "{error}");
            assert_eq!(keys.key(&cloud, function, &event), None, "{says}");
        }
    }
}
