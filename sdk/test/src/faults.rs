//! How much goes wrong in the cluster. Natively and in the sandbox nothing does.

/// How often something goes wrong: a crash, a pause, a partition, messages lost, late or doubled, a
/// disk that is slow, full or damaged, another leader. What it is, the seed draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    percent: u32,
}

impl Faults {
    /// Nothing goes wrong.
    pub const fn none() -> Self {
        Self::before_percent(0)
    }

    /// Something goes wrong before one call of eight: as a test has it that does not say.
    pub const fn some() -> Self {
        Self::before_percent(12)
    }

    /// Something goes wrong before every other call.
    pub const fn many() -> Self {
        Self::before_percent(50)
    }

    /// Something goes wrong before so many of 100 calls.
    pub const fn before_percent(percent: u32) -> Self {
        Self { percent }
    }

    pub(crate) fn percent(self) -> u32 {
        self.percent
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::some()
    }
}
