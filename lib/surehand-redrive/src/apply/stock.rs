//! Letters that were received and wait for their wave.

use crate::{letter::Letter, queue::Received, reader::Reader};
use std::collections::{HashSet, VecDeque};
use surehand::aws::limits::ENTRIES;

/// Bodies that wait in memory, about; and bodies that are on the way.
const STOCK_BYTES: usize = 8 * 1024 * 1024;
const WAVE_BYTES: usize = 4 * 1024 * 1024;

/// What is to be sent or dropped, in the order of its receipt.
#[derive(Default)]
pub(super) struct Stock {
    letters: VecDeque<Received>,
    /// Of their bodies.
    bytes: usize,
    seen: Seen,
    /// The ids of what came while there was enough here.
    surplus: Vec<String>,
}

/// How large letters are.
#[derive(Default)]
struct Seen {
    letters: usize,
    bytes: usize,
}

/// What is taken out of the stock at once.
#[derive(Default)]
pub(super) struct Wave {
    /// Next to send or to drop.
    pub(super) letters: Vec<Letter>,
    /// Not to be sent, since something before them in their group was not.
    pub(super) behind: Vec<Letter>,
}

impl Stock {
    /// Learns how large letters are, also from those that are not for it.
    pub(super) fn see(&mut self, letter: &Letter) {
        self.seen.letters += 1;
        self.seen.bytes += letter.body.len();
    }

    pub(super) fn push(&mut self, received: Received) {
        self.bytes += received.letter.body.len();
        self.letters.push_back(received);
    }

    /// Takes a letter in, unless there is enough here: then it is surplus, and so is what comes after it.
    pub(super) fn push_or_spare(&mut self, received: Received) {
        match self.surplus.is_empty() && !self.is_full() {
            true => self.push(received),
            false => self.surplus.push(received.letter.id),
        }
    }

    /// The ids of the surplus, which is none any more.
    pub(super) fn take_surplus(&mut self) -> Vec<String> {
        std::mem::take(&mut self.surplus)
    }

    pub(super) fn letters(&self) -> impl Iterator<Item = &Letter> {
        self.letters.iter().map(|received| &received.letter)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= STOCK_BYTES
    }

    /// How many receives it takes to have so many letters, as far as there is room for them.
    pub(super) fn receives(&self, wanted: usize) -> usize {
        let wanted = wanted.saturating_sub(self.letters.len());
        if wanted == 0 || self.is_full() {
            return 0;
        }
        let mean = self.seen.bytes / self.seen.letters.max(1);
        let that_fit = (STOCK_BYTES - self.bytes) / (mean.max(1) * ENTRIES);
        wanted.div_ceil(ENTRIES).min(that_fit.max(1))
    }

    /// Takes so many letters at most. On a FIFO queue, which has groups that are `halted`, one of a
    /// group, and none of a group that is `busy`.
    pub(super) fn take(
        &mut self,
        size: usize,
        halted: Option<&HashSet<String>>,
        busy: &HashSet<String>,
    ) -> Wave {
        let (mut wave, mut later) = (Wave::default(), VecDeque::new());
        let (mut groups, mut bytes) = (busy.clone(), 0);
        while wave.letters.len() < size && bytes < WAVE_BYTES {
            let Some(received) = self.letters.pop_front() else {
                break;
            };
            let size_of_body = received.letter.body.len();
            if let Some((group, halted)) = received.letter.group.as_ref().zip(halted) {
                if halted.contains(group) {
                    self.bytes -= size_of_body;
                    wave.behind.push(received.letter);
                    continue;
                }
                if !groups.insert(group.clone()) {
                    later.push_back(received);
                    continue;
                }
            }
            self.bytes -= size_of_body;
            bytes += size_of_body;
            wave.letters.push(received.letter);
        }
        later.append(&mut self.letters);
        self.letters = later;
        wave
    }

    /// Drops letters whose visibility timeout could not be renewed. Another consumer may have received
    /// them by now; if not, they come back. The same holds for what is behind them in their groups, and
    /// behind the groups in `lapsed`.
    pub(super) fn forget_lapsed(&mut self, reader: &mut Reader<'_>, mut lapsed: HashSet<String>) {
        let holds = reader.holds();
        if lapsed.is_empty() && self.letters().all(|letter| holds.has(&letter.id)) {
            return;
        }
        let is_fifo = reader.info().fifo;
        let bytes = &mut self.bytes;
        self.letters.retain(|Received { letter, .. }| {
            let group = letter.group.as_ref().filter(|_| is_fifo);
            let is_behind = group.is_some_and(|group| lapsed.contains(group));
            if !is_behind && holds.has(&letter.id) {
                return true;
            }
            lapsed.extend(group.cloned());
            *bytes -= letter.body.len();
            reader.forget(&letter.id);
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(id: &str, group: Option<&str>, size: usize) -> Received {
        let mut letter = Letter::new(id, "x".repeat(size));
        letter.group = group.map(str::to_owned);
        Received {
            letter,
            receipt: format!("receipt of {id}"),
        }
    }

    fn ids(letters: &[Letter]) -> Vec<&str> {
        letters.iter().map(|letter| letter.id.as_str()).collect()
    }

    #[test]
    fn a_group_has_one_letter_in_a_wave_and_keeps_its_order() {
        let mut stock = Stock::default();
        for (id, group) in [
            ("a1", "a"),
            ("a2", "a"),
            ("b1", "b"),
            ("a3", "a"),
            ("c1", "c"),
        ] {
            stock.push(letter(id, Some(group), 1));
        }
        let mut halted = HashSet::new();
        let none = HashSet::new();
        let wave = stock.take(2, Some(&halted), &none);
        assert_eq!(ids(&wave.letters), ["a1", "b1"]);
        halted.insert("a".to_owned());
        let busy = HashSet::from(["c".to_owned()]);
        let wave = stock.take(9, Some(&halted), &busy);
        assert!(wave.letters.is_empty(), "c waits for its outcome");
        assert_eq!(ids(&stock.take(9, Some(&halted), &none).letters), ["c1"]);
        assert_eq!(ids(&wave.behind), ["a2", "a3"]);
        assert!(stock.is_empty() && stock.bytes == 0);

        // The groups of a standard queue have no order.
        for id in ["a1", "a2"] {
            stock.push(letter(id, Some("a"), 1));
        }
        assert_eq!(ids(&stock.take(9, None, &none).letters), ["a1", "a2"]);
    }

    #[test]
    fn it_has_room_for_so_many_bytes() {
        const MIB: usize = 1024 * 1024;
        let mut stock = Stock::default();
        assert_eq!((stock.receives(100), stock.receives(0)), (10, 0));
        for id in 0..8 {
            let received = letter(&id.to_string(), None, MIB);
            stock.see(&received.letter);
            // Large ones: ten of them would not fit, and one receive may still bring fewer.
            assert_eq!(stock.receives(100), 1, "{id}");
            stock.push(received);
        }
        assert!(stock.is_full());
        assert_eq!(stock.receives(100), 0);
        let wave = stock.take(100, None, &HashSet::new());
        assert_eq!(ids(&wave.letters), ["0", "1", "2", "3"], "4 MiB at once");
        assert!(!stock.is_full());
        assert_eq!(stock.letters().count(), 4);
    }
}
