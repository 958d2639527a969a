//! Mistakes that the model must see.

use super::promises;

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
    /// The count of one sending goes on with the next one.
    CountsOnAfterARedrive,
    /// Each message of an event begins the count anew.
    CountsCopiesAnew,
    /// A failure that is written down twice is two attempts.
    RepeatsAreAttempts,
    /// A failure is taken back, as if the attempt had not begun.
    FailuresAreNothing,
    /// An attempt's end is counted for whatever sending is counted.
    EndsForAnother,
    /// That an attempt still goes on is not kept with its count.
    ForgetsWhatGoesOn,
    /// A suspect need not be handled alone.
    SuspectsBesideOthers,
    /// A beginning does not look at whether the key is completed.
    BeginsOverACompletion,
}

impl Mutation {
    pub(crate) const ALL: [Self; 14] = [
        Self::Unfenced,
        Self::HeldIsFree,
        Self::NoMargin,
        Self::EndlessLease,
        Self::ForgetsAtOnce,
        Self::EffectBeside,
        Self::CountsOnAfterARedrive,
        Self::CountsCopiesAnew,
        Self::RepeatsAreAttempts,
        Self::FailuresAreNothing,
        Self::EndsForAnother,
        Self::ForgetsWhatGoesOn,
        Self::SuspectsBesideOthers,
        Self::BeginsOverACompletion,
    ];

    /// Returns a property that it breaks.
    pub(crate) fn breaks(self) -> &'static str {
        match self {
            Self::Unfenced => promises::FENCE,
            Self::HeldIsFree | Self::NoMargin => promises::ONE_LIVE_LEASE,
            Self::EndlessLease => promises::DONE_IN_THE_END,
            Self::ForgetsAtOnce | Self::BeginsOverACompletion => promises::ONE_COMPLETION,
            Self::EffectBeside => promises::EFFECT_WITH_COMPLETION,
            Self::CountsOnAfterARedrive | Self::RepeatsAreAttempts => promises::PARKED_FOR_ATTEMPTS,
            Self::FailuresAreNothing => promises::WITHIN_THE_LIMIT,
            Self::EndsForAnother => promises::TRUE_COUNT,
            Self::ForgetsWhatGoesOn => promises::NOT_PARKED_MEANWHILE,
            Self::CountsCopiesAnew | Self::SuspectsBesideOthers => promises::SUSPECTS_ALONE,
        }
    }
}
