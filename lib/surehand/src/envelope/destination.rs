//! Where an event goes.

/// The bus or queue that an event is sent to, as spans name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Destination<'a> {
    /// OpenTelemetry's name of the system, for example `aws_sqs`.
    pub system: &'a str,
    /// The name of the bus or queue.
    pub name: &'a str,
}

impl<'a> Destination<'a> {
    /// The destination of this name in this system.
    pub fn new(system: &'a str, name: &'a str) -> Self {
        Self { system, name }
    }

    /// The destination that a URL or an ARN names at its end.
    #[cfg(any(feature = "eventbridge", feature = "sqs"))]
    pub(crate) fn at_end_of(system: &'a str, address: &'a str) -> Self {
        Self::new(system, address.rsplit('/').next().unwrap_or(address))
    }
}
