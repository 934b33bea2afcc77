//! The network between nodes: each direction of each pair is a link of its own, in order like TCP
//! unless a fault says otherwise.

use crate::time::{MS, Time};

/// What takes a message that nothing is wrong with.
const LATENCY_US: std::ops::Range<Time> = 150..1_500;
/// How late the second copy of a message may come.
const DUPLICATE_LATE_MAX: Time = 4_000 * MS;

/// What happens to one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is lost, as partitions lose it.
    Cut,
    /// It is lost by chance.
    Lost,
    /// It waits until its link is released.
    Held,
    /// It arrives then.
    Arrives(Arrival),
}

/// When a message arrives, and what was wrong with its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When.
    pub at: Time,
    /// When a second copy of it does.
    pub again_at: Option<Time>,
    /// Whether it may have overtaken others.
    pub is_reordered: bool,
    /// Whether it took longer than it should.
    pub is_delayed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    /// How many faults cut it.
    cuts: u32,
    /// How many faults hold it.
    holds: u32,
    /// The last arrival, before which no later message arrives.
    last: Time,
}

/// All links.
#[derive(Debug)]
pub struct Net {
    nodes: u32,
    links: Vec<Link>,
    rng: fastrand::Rng,
    rng_apart: fastrand::Rng,
    rng_damage: fastrand::Rng,
    loss_percent: u32,
    duplicate_percent: u32,
    reorder_us: Time,
    delay_us: Time,
    flip_permille: u32,
    /// The last message that was let overtake, doubled or delayed arrives then.
    late_until: Time,
}

impl Net {
    /// Links between so many nodes, on which nothing is wrong.
    pub fn new(nodes: u32, rng: fastrand::Rng) -> Self {
        let links = vec![Link::default(); (nodes * nodes) as usize];
        let mut seeds = rng.clone();
        Self {
            nodes,
            links,
            rng_apart: fastrand::Rng::with_seed(seeds.u64(..)),
            rng_damage: fastrand::Rng::with_seed(seeds.u64(..)),
            rng,
            loss_percent: 0,
            duplicate_percent: 0,
            reorder_us: 0,
            delay_us: 0,
            flip_permille: 0,
            late_until: 0,
        }
    }

    fn link(&mut self, from: u32, to: u32) -> &mut Link {
        &mut self.links[((from - 1) * self.nodes + to - 1) as usize]
    }

    /// Cuts a link once more, or once less.
    pub fn cut(&mut self, from: u32, to: u32, is_cut: bool) {
        let cuts = &mut self.link(from, to).cuts;
        *cuts = if is_cut { *cuts + 1 } else { cuts.saturating_sub(1) };
    }

    /// Holds a link once more, or once less; true when it is free now.
    pub fn hold(&mut self, from: u32, to: u32, is_held: bool) -> bool {
        let holds = &mut self.link(from, to).holds;
        *holds = if is_held { *holds + 1 } else { holds.saturating_sub(1) };
        *holds == 0
    }

    /// Loses so many percent more (or, negative, less) of all messages.
    pub fn lose(&mut self, percent: i32) {
        self.loss_percent = self.loss_percent.saturating_add_signed(percent);
    }

    /// Doubles so many percent more (or, negative, less) of all messages.
    pub fn duplicate(&mut self, percent: i32) {
        self.duplicate_percent = self.duplicate_percent.saturating_add_signed(percent);
    }

    /// Lets messages overtake each other by up to so much more (or less).
    pub fn reorder(&mut self, by: i64) {
        self.reorder_us = self.reorder_us.saturating_add_signed(by);
    }

    /// Makes all messages slower by so much (or faster).
    pub fn delay(&mut self, by: i64) {
        self.delay_us = self.delay_us.saturating_add_signed(by);
    }

    /// Damages so many per mille more (or, negative, less) of all messages.
    pub fn flip(&mut self, permille: i32) {
        self.flip_permille = self.flip_permille.saturating_add_signed(permille);
    }

    /// Whether the next message is one of those.
    pub fn damages(&mut self) -> bool {
        self.flip_permille > 0 && self.rng_damage.u32(0..1000) < self.flip_permille
    }

    /// Flips a bit of it.
    pub fn damage(&mut self, bytes: &mut [u8]) {
        let at = self.rng_damage.usize(0..bytes.len());
        bytes[at] ^= 1 << self.rng_damage.u32(0..8);
    }

    /// Whether messages come soon, in order and once, or not at all; those included which left when
    /// they did not.
    pub fn is_calm(&self, now: Time) -> bool {
        let is_held = self.links.iter().any(|link| link.holds > 0);
        !is_held
            && now > self.late_until
            && self.duplicate_percent == 0
            && self.reorder_us == 0
            && self.delay_us == 0
    }

    /// Heals all links.
    pub fn heal(&mut self) {
        for link in &mut self.links {
            (link.cuts, link.holds) = (0, 0);
        }
        (self.loss_percent, self.duplicate_percent) = (0, 0);
        (self.reorder_us, self.delay_us, self.flip_permille) = (0, 0, 0);
    }

    /// The same for a message that travels beside the streams: what happens to it moves no other.
    pub fn fate_apart(&mut self, now: Time, from: u32, to: u32) -> Fate {
        let last = self.link(from, to).last;
        std::mem::swap(&mut self.rng, &mut self.rng_apart);
        let fate = self.fate(now, from, to);
        std::mem::swap(&mut self.rng, &mut self.rng_apart);
        self.link(from, to).last = last;
        fate
    }

    /// Decides what happens to a message that leaves now.
    pub fn fate(&mut self, now: Time, from: u32, to: u32) -> Fate {
        let link = *self.link(from, to);
        if link.cuts > 0 {
            return Fate::Cut;
        }
        if self.rng.u32(0..100) < self.loss_percent {
            return Fate::Lost;
        }
        if link.holds > 0 {
            return Fate::Held;
        }
        let mut at = now + self.rng.u64(LATENCY_US) + self.delay_us;
        let is_reordered = self.reorder_us > 0;
        if is_reordered {
            at += self.rng.u64(0..self.reorder_us);
        } else {
            at = at.max(link.last + 1);
            self.link(from, to).last = at;
        }
        let is_doubled = self.rng.u32(0..100) < self.duplicate_percent;
        let again_at = is_doubled.then(|| at + self.rng.u64(0..DUPLICATE_LATE_MAX));
        if is_reordered || is_doubled || self.delay_us > 0 {
            self.late_until = self.late_until.max(again_at.unwrap_or(at));
        }
        Fate::Arrives(Arrival { at, again_at, is_reordered, is_delayed: self.delay_us > 0 })
    }
}
