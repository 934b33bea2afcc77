//! What a seed draws: the cluster, its clients, and its own mix of faults.
//!
//! Each seed leaves out some kinds of fault and has more of others (swarm testing: Groce et al.,
//! 2012): a bug that one fault would hide shows where that fault does not happen.

use std::time::Duration;

use quorate_core::batcher::BatcherConfig;
use quorate_core::limits;
use quorate_core::replica::Bounds;
use quorate_core::session::table::SessionLimits;

use crate::cluster;
use crate::fault::{Episode, Fault, Target, Unsynced, Way};
use crate::time::{MS, SECOND, Time};

/// As many nodes as a set of faults can name.
const NODES_MAX: u32 = 7;
/// Of so many seeds, one runs the real module.
const WASM_ONE_IN: u64 = 20;
/// Of so many seeds, one has faults of followers only, one at a time.
const GENTLE_ONE_IN: u64 = 12;
/// Of so many seeds, one has a network that damages messages.
const DAMAGE_ONE_IN: u32 = 8;
/// Of so many seeds, one has leases.
const LEASES_ONE_IN: u32 = 3;
/// A sync that takes so long has hung.
pub(crate) const HANG: Time = 5 * SECOND;
/// Of so many seeds, one has replicas whose bits flip, and nothing else.
const FLIPPED_ONE_IN: u64 = 12;
/// Of so many seeds, one keeps its log in memory.
const MEMORY_ONE_IN: u32 = 5;

/// All that is decided before a run begins. The rest follows from it and from the seed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where all randomness comes from.
    pub seed: u64,
    /// How many nodes there are, or may be.
    pub nodes: u32,
    /// So many of them found the cluster; the others may be added.
    pub founders: u32,
    /// Whether the real module runs, not the native program.
    pub is_wasm: bool,
    /// Whether logs are in memory: a node that restarts joins anew.
    pub is_volatile: bool,
    /// Whether only followers are met, one at a time: then the first leader leads to the end.
    pub is_gentle: bool,
    /// How long leaders' leases last, if there are any.
    pub lease: Option<Duration>,
    /// How many clients.
    pub clients: u32,
    /// How many registers they use.
    pub keys: u32,
    /// How long a client waits between two calls, at most.
    pub think_max: Time,
    /// Of 100 calls, so many are scripts.
    pub scripts_percent: u32,
    /// Of 100 calls, so many only read.
    pub reads_percent: u32,
    /// Of 100 clients, so many have sessions.
    pub sessions_percent: u32,
    /// Of 100 calls of those, so many are followed by copies of earlier ones.
    pub duplicates_percent: u32,
    /// What bounds sessions.
    pub sessions: SessionLimits,
    /// What bounds replicas.
    pub bounds: Bounds,
    /// What bounds batches.
    pub batcher: BatcherConfig,
    /// Committed entries that wait for apply, in bytes, before a node takes no more.
    pub parked_bytes_max: usize,
    /// Commands that wait for the batcher.
    pub submit_max: usize,
    /// How much faster or slower each node's clock runs, in thousandths.
    pub skews_permille: Vec<i64>,
    /// How long faults go on.
    pub lasts: Time,
    /// What goes wrong, in order of time.
    pub episodes: Vec<Episode>,
}

/// A stream of random numbers of its own for each purpose: what one draws does not move another.
pub fn stream(seed: u64, purpose: &str) -> fastrand::Rng {
    fastrand::Rng::with_seed(crate::trace::mix_bytes(seed, purpose.as_bytes()))
}

impl Plan {
    /// What this seed draws.
    pub fn of(seed: u64) -> Self {
        let mut rng = stream(seed, "plan");
        let founders: u32 = *pick(&mut rng, &[3, 3, 3, 3, 3, 5, 5, 4, 7, 2, 1]);
        let is_gentle = founders > 2 && seed % GENTLE_ONE_IN == 5;
        let spares = if is_gentle { 0 } else { *pick(&mut rng, &[0, 1, 2, 2]) };
        let nodes = (founders + spares).min(NODES_MAX);
        let is_wasm = seed % WASM_ONE_IN == WASM_ONE_IN - 1;
        let lasts = rng.u64(12 * SECOND..34 * SECOND);
        let is_volatile = rng.u32(0..MEMORY_ONE_IN) == 0;
        let drift = i64::from(limits::CLOCK_DRIFT_PERCENT_MAX) * 10;
        let mut plan = Self {
            seed,
            nodes,
            founders,
            is_wasm,
            is_volatile,
            is_gentle: false,
            lease: None,
            clients: rng.u32(3..14),
            keys: rng.u32(1..5),
            think_max: rng.u64(30 * MS..700 * MS),
            scripts_percent: if is_wasm { 0 } else { *pick(&mut rng, &[0, 15, 30, 60]) },
            reads_percent: rng.u32(10..60),
            sessions_percent: 0,
            duplicates_percent: 0,
            sessions: SessionLimits::default(),
            bounds: bounds(&mut rng),
            batcher: batcher(&mut rng),
            parked_bytes_max: *pick(&mut rng, &[300, 4_000, 1 << 20]),
            submit_max: *pick(&mut rng, &[4, 64, 1024]),
            skews_permille: (0..nodes).map(|_| rng.i64(-drift..=drift)).collect(),
            lasts,
            episodes: Vec::new(),
        };
        plan.draw_sessions(stream(seed, "sessions"));
        plan.is_gentle = is_gentle && !is_volatile;
        let is_flipped = nodes > 2 && !is_volatile && !is_wasm && seed % FLIPPED_ONE_IN == 7;
        plan.episodes = if plan.is_gentle {
            gentle_episodes(&mut rng, lasts)
        } else if is_flipped {
            // One that is alone has nobody to compare with.
            plan.founders = nodes;
            // Nobody gets a snapshot but who asks for one: a leader's may be wrong.
            plan.bounds.log_entries_max = Bounds::default().log_entries_max;
            flips(&mut rng, nodes, lasts)
        } else {
            episodes(&mut rng, nodes, lasts)
        };
        // Their faults cut nodes off: two that are left cannot know which of them is right.
        if !is_flipped {
            plan.draw_leases(stream(seed, "leases"));
            plan.draw_company(stream(seed, "company"));
            plan.draw_damage(stream(seed, "damage"));
        }
        plan
    }

    /// In some clusters, bits flip between nodes for a while.
    fn draw_damage(&mut self, mut rng: fastrand::Rng) {
        if self.is_gentle || rng.u32(0..DAMAGE_ONE_IN) > 0 {
            return;
        }
        let (at, lasts) = (rng.u64(0..self.lasts / 2), rng.u64(SECOND..self.lasts / 2));
        let fault = Fault::FlipBits(*pick(&mut rng, &[2, 20, 100]));
        self.episodes.push(Episode { number: 0, at, lasts, fault });
        put_in_order(&mut self.episodes);
    }

    /// Some clusters have leases, with faults that are made for them.
    fn draw_leases(&mut self, mut rng: fastrand::Rng) {
        self.lease = (rng.u32(0..LEASES_ONE_IN) == 0).then(cluster::lease);
        if self.lease.is_none() || self.is_gentle || self.nodes < 3 {
            return;
        }
        let mut add =
            |at, lasts, fault| self.episodes.push(Episode { number: 0, at, lasts, fault });
        for _ in 0..rng.u32(1..6) {
            let at = rng.u64(SECOND..self.lasts);
            match rng.u32(0..3) {
                0 => {
                    let lasts = rng.u64(900 * MS..3 * SECOND);
                    add(at, lasts, Fault::Doze(Target::Leader));
                    // When it goes on, it has heard the answers, and nothing that came after them.
                    let cut = Fault::Isolate(Target::Leader, Way::Both);
                    add(at + 30 * MS, lasts + SECOND, cut);
                }
                1 => add(at, rng.u64(20 * MS..700 * MS), Fault::OfferAndDoze(Target::Leader)),
                _ => {
                    let apart = rng.u64(SECOND..3 * SECOND);
                    let lasts = rng.u64(SECOND..3 * SECOND);
                    add(at, apart + lasts, Fault::Estrange(Target::Leader));
                    // Where logs are in memory, those who restart would not be who they were.
                    if !self.is_volatile {
                        add(at + apart, lasts, Fault::Desert(Target::Leader));
                    }
                }
            }
        }
        put_in_order(&mut self.episodes);
    }

    /// Who began alone, and read without asking, is cut off once it has company.
    fn draw_company(&mut self, mut rng: fastrand::Rng) {
        if self.founders > 1 || self.nodes < 3 || rng.bool() {
            return;
        }
        let cut = Fault::Sleepwalk(Target::Leader);
        for (at, fault) in [(SECOND, Fault::Grow), (4 * SECOND, Fault::Grow), (8 * SECOND, cut)] {
            let (at, lasts) = (at + rng.u64(0..SECOND), rng.u64(2 * SECOND..4 * SECOND));
            self.episodes.push(Episode { number: 0, at, lasts, fault });
        }
        put_in_order(&mut self.episodes);
    }

    /// Who has sessions, and how many there may be: often so few that one expires while its client
    /// waits, and not so few that all do.
    fn draw_sessions(&mut self, mut rng: fastrand::Rng) {
        self.sessions_percent = *pick(&mut rng, &[0, 50, 100]);
        self.duplicates_percent = *pick(&mut rng, &[2, 5, 15]);
        let (all, clients) = (SessionLimits::default(), self.clients as usize);
        self.sessions = SessionLimits {
            sessions_max: *pick(&mut rng, &[all.sessions_max, clients + 3, clients + 1]),
            replies_max: *pick(&mut rng, &[all.replies_max, 8, 4]),
            session_bytes_max: *pick(&mut rng, &[all.session_bytes_max, 1_500]),
            table_bytes_max: *pick(&mut rng, &[all.table_bytes_max, 1_000 * clients]),
        };
    }

    /// The same with some of its faults only.
    #[must_use]
    pub fn with_faults(&self, numbers: &[usize]) -> Self {
        let mut plan = self.clone();
        plan.episodes.retain(|episode| numbers.contains(&episode.number));
        plan
    }

    /// Whether a node comes back under its old name, without its data.
    pub fn has_wipes(&self) -> bool {
        self.episodes.iter().any(|episode| matches!(episode.fault, Fault::Wipe(_)))
    }

    /// The numbers of its faults.
    pub fn faults(&self) -> Vec<usize> {
        self.episodes.iter().map(|episode| episode.number).collect()
    }

    /// Three nodes without clients, with bounds that differ from seed to seed: for whoever drives
    /// them from outside, and has things go wrong.
    pub fn driven(seed: u64) -> Self {
        let mut rng = stream(seed, "plan");
        Self { bounds: bounds(&mut rng), batcher: batcher(&mut rng), ..Self::calm(seed, 3) }
    }

    /// A cluster without faults and clients: for scripts, which bring their own.
    pub fn calm(seed: u64, nodes: u32) -> Self {
        Self {
            seed,
            nodes,
            founders: nodes,
            is_wasm: false,
            is_volatile: false,
            is_gentle: false,
            lease: None,
            clients: 0,
            keys: 4,
            think_max: SECOND,
            scripts_percent: 0,
            reads_percent: 0,
            sessions_percent: 0,
            duplicates_percent: 0,
            sessions: SessionLimits::default(),
            bounds: Bounds::default(),
            batcher: BatcherConfig::default(),
            parked_bytes_max: 1 << 20,
            submit_max: 1024,
            skews_permille: vec![0; nodes as usize],
            lasts: 0,
            episodes: Vec::new(),
        }
    }
}

fn pick<'a, T>(rng: &mut fastrand::Rng, from: &'a [T]) -> &'a T {
    &from[rng.usize(0..from.len())]
}

/// Often so small that paths are taken which need gigabytes else.
fn bounds(rng: &mut fastrand::Rng) -> Bounds {
    let all = Bounds::default();
    let message_bytes_max = *pick(rng, &[all.message_bytes_max, 2_000, 150]);
    Bounds {
        message_bytes_max,
        inflight_messages_max: *pick(rng, &[all.inflight_messages_max, 8, 2]),
        committed_bytes_per_ready_max: *pick(rng, &[all.committed_bytes_per_ready_max, 300]),
        // Raft takes no smaller one than a message.
        uncommitted_bytes_max: (*pick(rng, &[all.uncommitted_bytes_max, 4_000, 600]))
            .max(message_bytes_max),
        reads_waiting_max: *pick(rng, &[all.reads_waiting_max, 3]),
        // Mostly so few that logs are cut, and that who was away for a while needs a snapshot.
        log_entries_max: *pick(rng, &[all.log_entries_max, 60, 16, 4]),
        log_bytes_max: *pick(rng, &[all.log_bytes_max, all.log_bytes_max, 2_000]),
        snapshot_ticks_max: *pick(rng, &[20, 60]),
        catch_up_entries_max: *pick(rng, &[all.catch_up_entries_max, 3]),
    }
}

fn batcher(rng: &mut fastrand::Rng) -> BatcherConfig {
    let all = BatcherConfig::default();
    BatcherConfig {
        commands_max: *pick(rng, &[all.commands_max, 1, 3]),
        bytes_max: *pick(rng, &[all.bytes_max, 400, 100]),
        linger: *pick(rng, &[Duration::ZERO, Duration::ZERO, Duration::from_millis(5)]),
    }
}

/// Families of faults: a seed leaves each out with even chances.
const FAMILIES: [fn(&mut fastrand::Rng, u32) -> Fault; 12] = [
    messages, partitions, partitions, crashes, crashes, standing, disks, clocks, rot, snapshots,
    members, members,
];

/// Something that goes wrong in a cluster that somebody waits for, and for how long.
pub(crate) fn any_fault(rng: &mut fastrand::Rng, nodes: u32) -> (Fault, Time) {
    const FAMILIES: [fn(&mut fastrand::Rng, u32) -> Fault; 9] =
        [messages, partitions, partitions, crashes, crashes, standing, disks, snapshots, rot];
    let fault = pick(rng, &FAMILIES)(rng, nodes);
    let longest = *pick(rng, &[100 * MS, 500 * MS, 3 * SECOND]);
    (fault, rng.u64(10 * MS..longest))
}

fn episodes(rng: &mut fastrand::Rng, nodes: u32, lasts: Time) -> Vec<Episode> {
    let families: Vec<_> = FAMILIES.into_iter().filter(|_| rng.bool()).collect();
    if families.is_empty() {
        return Vec::new();
    }
    let count = rng.usize(3..26);
    let mut episodes: Vec<_> = (0..count)
        .map(|_| {
            let fault = pick(rng, &families)(rng, nodes);
            let longest = match fault {
                Fault::Loss(_) | Fault::Duplicate(_) | Fault::Reorder(_) => 10 * SECOND,
                Fault::Pause(_) => *pick(rng, &[300 * MS, 5 * SECOND, 20 * SECOND]),
                _ => *pick(rng, &[300 * MS, 2 * SECOND, 5 * SECOND]),
            };
            let at = rng.u64(0..lasts);
            Episode { number: 0, at, lasts: rng.u64(20 * MS..longest), fault }
        })
        .collect();
    put_in_order(&mut episodes);
    episodes
}

fn put_in_order(episodes: &mut [Episode]) {
    episodes.sort_by_key(|episode| episode.at);
    for (number, episode) in (1..).zip(episodes) {
        episode.number = number;
    }
}

/// One follower at a time has a fault, from when a leader must have been elected.
fn gentle_episodes(rng: &mut fastrand::Rng, lasts: Time) -> Vec<Episode> {
    const BEGIN: Time = 6 * SECOND;
    const EVERY: Time = 5 * SECOND;
    let begins = (BEGIN..lasts.saturating_sub(EVERY)).step_by(EVERY as usize);
    let follower = Target::Follower;
    let gentle = |(number, at)| {
        let fault = match rng.u32(0..6) {
            0 => Fault::Crash(follower, unsynced(rng)),
            1 | 2 => Fault::Isolate(follower, *pick(rng, &[Way::Both, Way::In, Way::Out])),
            3 => Fault::Pause(follower),
            4 => Fault::SlowApply(follower, rng.u64(5 * MS..600 * MS)),
            _ => Fault::SlowSync(follower, rng.u64(5 * MS..500 * MS)),
        };
        Episode { number, at, lasts: rng.u64(100 * MS..4 * SECOND), fault }
    };
    (1..).zip(begins).map(gentle).collect()
}

/// One replica at a time decides a bit wrong, from when a leader must have been elected; it is
/// found out and repaired before the next.
fn flips(rng: &mut fastrand::Rng, nodes: u32, lasts: Time) -> Vec<Episode> {
    const BEGIN: Time = 4 * SECOND;
    const EVERY: Time = 4 * SECOND;
    let begins = (BEGIN..lasts.saturating_sub(EVERY)).step_by(EVERY as usize);
    let flip = |(number, at)| {
        let (target, bit) = (target(rng, nodes), rng.u32(0..4_096));
        let is_write = rng.bool();
        let fault =
            if is_write { Fault::FlipWrite(target, bit) } else { Fault::FlipOutcome(target, bit) };
        Episode { number, at: at + rng.u64(0..SECOND), lasts: MS, fault }
    };
    (1..).zip(begins).map(flip).collect()
}

fn target(rng: &mut fastrand::Rng, nodes: u32) -> Target {
    if rng.u32(0..3) == 0 { Target::Leader } else { Target::Node(rng.u32(1..=nodes)) }
}

pub(crate) fn unsynced(rng: &mut fastrand::Rng) -> Unsynced {
    use Unsynced::{Kept, Lost, Reordered, Torn};
    *pick(rng, &[Lost, Torn, Reordered, Kept])
}

fn messages(rng: &mut fastrand::Rng, nodes: u32) -> Fault {
    match rng.u32(0..5) {
        0 => Fault::Loss(*pick(rng, &[1, 10, 40])),
        1 => Fault::Duplicate(*pick(rng, &[2, 20])),
        2 => Fault::Reorder(rng.u64(2 * MS..400 * MS)),
        3 => Fault::Delay(rng.u64(5 * MS..900 * MS)),
        _ => Fault::Hold(target(rng, nodes)),
    }
}

fn partitions(rng: &mut fastrand::Rng, nodes: u32) -> Fault {
    let from = rng.u32(1..=nodes);
    let leader = if rng.bool() { Target::Leader } else { target(rng, nodes) };
    match rng.u32(0..7) {
        0 => Fault::OneWay(from, from % nodes + 1),
        1 => Fault::Bridge(from),
        2 => Fault::Isolate(leader, *pick(rng, &[Way::Both, Way::Both, Way::In, Way::Out])),
        3 => Fault::Sleepwalk(leader),
        _ if nodes > 1 => Fault::Partition(rng.u8(1..(1 << nodes) - 1)),
        _ => Fault::Bridge(from),
    }
}

fn crashes(rng: &mut fastrand::Rng, nodes: u32) -> Fault {
    let target = target(rng, nodes);
    match rng.u32(0..9) {
        0 | 1 => Fault::Crash(target, unsynced(rng)),
        2 | 3 => Fault::CrashAtEffect(target, rng.u8(0..12), unsynced(rng)),
        4 => Fault::CrashAll(unsynced(rng)),
        5 => Fault::CrashLoop(target, rng.u8(2..6)),
        6 => Fault::HandOver(Target::Leader),
        7 => Fault::Junk(target),
        _ => Fault::Stop(target),
    }
}

fn standing(rng: &mut fastrand::Rng, nodes: u32) -> Fault {
    let target = target(rng, nodes);
    match rng.u32(0..2) {
        0 => Fault::Pause(target),
        _ => Fault::SlowApply(target, rng.u64(5 * MS..600 * MS)),
    }
}

fn disks(rng: &mut fastrand::Rng, nodes: u32) -> Fault {
    let target = target(rng, nodes);
    match rng.u32(0..4) {
        0 => Fault::FailSync(target, rng.bool()),
        1 => Fault::NoSpace(target),
        // It hangs: others must lead long before it is back.
        2 if rng.bool() => Fault::SlowSync(target, rng.u64(HANG..3 * HANG)),
        _ => Fault::SlowSync(target, rng.u64(5 * MS..2 * SECOND)),
    }
}

fn clocks(rng: &mut fastrand::Rng, nodes: u32) -> Fault {
    let target = target(rng, nodes);
    match rng.u32(0..2) {
        0 => Fault::ClockJump(target, rng.i64(-3_600_000..3_600_000)),
        _ => Fault::ClockFreeze(target),
    }
}

fn snapshots(rng: &mut fastrand::Rng, nodes: u32) -> Fault {
    match rng.u32(0..4) {
        0 => Fault::DamagedChunks(*pick(rng, &[10, 50])),
        1 => Fault::Resync(target(rng, nodes)),
        _ => Fault::CrashInSnapshot(target(rng, nodes), rng.u8(0..12)),
    }
}

fn members(rng: &mut fastrand::Rng, nodes: u32) -> Fault {
    let target = target(rng, nodes);
    match rng.u32(0..8) {
        0 | 1 => Fault::Grow,
        2 | 3 => Fault::Shrink(target),
        4 | 5 => Fault::Replace(target),
        6 => Fault::Transfer(target),
        _ => Fault::Wipe(target),
    }
}

fn rot(rng: &mut fastrand::Rng, nodes: u32) -> Fault {
    let target = target(rng, nodes);
    match rng.u32(0..3) {
        0 => Fault::LogRot(target),
        1 => Fault::StateGone(target),
        _ => Fault::Wipe(target),
    }
}
