//! Where an invocation's metrics go.

use super::names::{self, NAMESPACE};
use crate::{BoxError, Result, environment};
use std::{fmt, io::Write, sync::Arc};

/// The destination of a function's metrics.
///
/// Unless [`Function::metrics`](crate::Function::metrics) sets it, the environment decides: with
/// `SUREHAND_METRICS_NAMESPACE` the metrics of each invocation are written to standard output under
/// that namespace; without it there are none.
#[derive(Clone)]
pub struct Emf {
    pub(super) namespace: String,
    pub(super) service: Option<String>,
    pub(super) write: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Emf {
    /// Writes metrics to standard output under a namespace: 1 to 255 letters, digits and `.-_/#: `.
    ///
    /// Their `service` is as in the log: `SUREHAND_SERVICE_NAME`, else `OTEL_SERVICE_NAME`, else the function's name.
    pub fn new(namespace: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            service: environment::service(|name| std::env::var(name).ok()),
            write: Arc::new(|line| {
                // Each line is one write, so that the output of another thread cannot come in
                // between. If it fails, there is no place to report it.
                let _ = std::io::stdout().write_all(format!("{line}\n").as_bytes());
            }),
        }
    }

    /// Sets the dimension `service`.
    pub fn service(mut self, service: impl Into<String>) -> Self {
        self.service = Some(service.into());
        self
    }

    /// Passes each line, without its line end, to `write` instead of standard output.
    pub fn write_to(mut self, write: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.write = Arc::new(write);
        self
    }

    /// Returns the destination that the environment asks for, if any.
    pub(crate) fn from_env() -> Option<Self> {
        environment::optional(NAMESPACE).map(Self::new)
    }

    /// CloudWatch silently drops the metrics of an invalid namespace, so it is checked here.
    pub(crate) fn check(&self) -> Result<(), BoxError> {
        let name = &self.namespace;
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || ".-_/#: ".contains(c);
        let is_valid = !name.trim().is_empty()
            && name.len() <= names::MAX_NAME
            && name.chars().all(is_allowed)
            && !name.starts_with(':')
            && !name.starts_with("AWS/");
        if is_valid {
            return Ok(());
        }
        Err(format!("the metrics' namespace `{name}` is not valid: set {NAMESPACE} to 1 to 255 letters, digits and `.-_/#: ` that do not begin with `AWS/`").into())
    }
}

impl From<&str> for Emf {
    fn from(namespace: &str) -> Self {
        Self::new(namespace)
    }
}

impl From<String> for Emf {
    fn from(namespace: String) -> Self {
        Self::new(namespace)
    }
}

impl fmt::Debug for Emf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emf")
            .field("namespace", &self.namespace)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}
