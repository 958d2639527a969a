//! Which records' lines are all written.

use sha2::{Digest, Sha256};

/// The share of records whose lines are all written immediately.
///
/// Records of one story, which share a correlation id, are in it together, in every function.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sample(f64);

impl Sample {
    /// Makes a sample of a share from 0 to 1.
    pub(super) fn new(share: f64) -> Option<Self> {
        (0.0..=1.0).contains(&share).then_some(Self(share))
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0.0
    }

    pub(super) fn contains(self, id: &str) -> bool {
        if self.is_empty() {
            return false;
        }
        let digest = Sha256::digest(id);
        let first = digest.iter().take(8);
        let number = first.fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        // The fraction is from 0 to 1; only a share of 1 includes 1.
        (number as f64) / (u64::MAX as f64) <= self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_share_and_the_same_everywhere() {
        let ids: Vec<String> = (0..10_000).map(|n| format!("0190-{n}")).collect();
        let count = |share: f64| {
            let sample = Sample::new(share).unwrap();
            ids.iter().filter(|id| sample.contains(id)).count()
        };
        assert_eq!((count(0.0), count(1.0)), (0, ids.len()));
        let tenth = count(0.1);
        assert!((900..1_100).contains(&tenth), "{tenth}");
        // A larger share includes all records of a smaller one.
        let (small, large) = (Sample(0.1), Sample(0.2));
        assert!(
            ids.iter()
                .all(|id| !small.contains(id) || large.contains(id))
        );
        for share in [-0.1, 1.1, f64::NAN] {
            assert_eq!(Sample::new(share), None);
        }
    }
}
