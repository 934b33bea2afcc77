//! Which calls of a key an order has placed so far: nearly all up to some place, few beyond it.

const WORD: usize = u64::BITS as usize;

/// A set of places. Equal sets are equal values: no word at the front has all of its bits, and no
/// word at the end has none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Done {
    /// Words before these that have all of their bits.
    full: usize,
    words: Vec<u64>,
}

impl Done {
    /// All places below this one.
    pub(super) fn below(end: usize) -> Self {
        let rest = (1 << (end % WORD)) - 1;
        Self { full: end / WORD, words: if rest == 0 { Vec::new() } else { vec![rest] } }
    }

    pub(super) fn insert(&mut self, at: usize) {
        assert!(!self.contains(at), "it is placed once");
        let word = at / WORD - self.full;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (at % WORD);
        let full = self.words.iter().take_while(|word| **word == u64::MAX).count();
        self.words.drain(..full);
        self.full += full;
    }

    pub(super) fn contains(&self, at: usize) -> bool {
        let Some(word) = (at / WORD).checked_sub(self.full) else { return true };
        self.words.get(word).is_some_and(|word| word & (1 << (at % WORD)) != 0)
    }

    /// The first place that is not in it.
    pub(super) fn first_missing(&self) -> usize {
        let beyond = self.words.first().map_or(0, |word| word.trailing_ones());
        self.full * WORD + beyond as usize
    }

    pub(super) fn count(&self) -> usize {
        let beyond: u32 = self.words.iter().map(|word| word.count_ones()).sum();
        self.full * WORD + beyond as usize
    }
}
