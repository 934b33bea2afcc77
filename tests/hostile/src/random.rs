//! Random numbers from a seed, and the words in which generators ask for them.

/// A source of random numbers; the same for the same seed, on every machine.
#[derive(Debug)]
pub struct Random(fastrand::Rng);

impl Random {
    /// The numbers of `seed` for one purpose. Purposes draw apart from each other: a generator that
    /// asks for one number more does not change the log that its module is fed.
    pub fn new(seed: u64, purpose: &str) -> Self {
        // FNV-1a, 64 bits; then fastrand gets seeds that are far apart.
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let bytes = seed.to_le_bytes().into_iter().chain(purpose.bytes());
        Self(fastrand::Rng::with_seed(bytes.fold(0xcbf2_9ce4_8422_2325, mix)))
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u32) -> u32 {
        self.0.u32(..end)
    }

    /// An index below `end`, which is not 0.
    pub fn index(&mut self, end: usize) -> usize {
        self.0.usize(..end)
    }

    /// Any number.
    pub fn word(&mut self) -> u32 {
        self.0.u32(..)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// True once in `times`.
    pub fn one_in(&mut self, times: u32) -> bool {
        self.below(times) == 0
    }

    /// One of `choices`, of which there is at least one.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    /// So many bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.fill(&mut bytes);
        bytes
    }
}
