//! Mistakes that the model must see.

use super::model;

/// A protocol that differs from the real one in one point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Completion and release without the owner as a condition.
    Unfenced,
    /// A claim does not look at whether the lease in its way has ended.
    HeldIsFree,
    /// A lease ends with the invocation, without a margin for clocks that differ.
    NoMargin,
    /// A lease has no end.
    EndlessLease,
    /// A completion is forgotten before the duplicates have come.
    ForgetsAtOnce,
    /// A transaction's effect does not depend on its claim.
    EffectBeside,
}

impl Mutation {
    pub(crate) const ALL: [Self; 6] = [
        Self::Unfenced,
        Self::HeldIsFree,
        Self::NoMargin,
        Self::EndlessLease,
        Self::ForgetsAtOnce,
        Self::EffectBeside,
    ];

    /// Returns a property that it breaks.
    pub(crate) fn breaks(self) -> &'static str {
        match self {
            Self::Unfenced => model::FENCE,
            Self::HeldIsFree | Self::NoMargin => model::ONE_LIVE_LEASE,
            Self::EndlessLease => model::DONE_IN_THE_END,
            Self::ForgetsAtOnce => model::ONE_COMPLETION,
            Self::EffectBeside => model::EFFECT_WITH_COMPLETION,
        }
    }
}
