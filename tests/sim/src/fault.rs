//! What can go wrong, and the ledger of what did.

use std::fmt;

use crate::time::{MS, SECOND, Time};

/// Which node a fault meets: one by its number, or by its role when the fault comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// This one.
    Node(u32),
    /// Whoever leads.
    Leader,
    /// Somebody who does not lead.
    Follower,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "node {node}"),
            Self::Leader => f.write_str("the leader"),
            Self::Follower => f.write_str("a follower"),
        }
    }
}

/// What a crash does to what was written and not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// It is gone.
    Lost,
    /// It is cut off within.
    Torn,
    /// A later part of it is there, an earlier one is not.
    Reordered,
    /// All of it is there.
    Kept,
}

/// Which messages of a node are cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What comes and what goes.
    Both,
    /// What comes.
    In,
    /// What goes.
    Out,
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// So many percent of the messages are lost.
    Loss(u8),
    /// So many percent of the messages arrive twice, the second time much later.
    Duplicate(u8),
    /// Messages overtake each other by up to so long.
    Reorder(Time),
    /// Messages take so much longer.
    Delay(Time),
    /// So many per mille of the messages of raft arrive with a bit that is wrong.
    FlipBits(u16),
    /// Nothing gets from the first node to the second.
    OneWay(u32, u32),
    /// Nodes of this set (a bit for each) and the others do not reach each other.
    Partition(u8),
    /// The nodes reach each other only through this one.
    Bridge(u32),
    /// A node hears nobody, or is not heard, or both.
    Isolate(Target, Way),
    /// A node is isolated, and its clock stands still: it does not notice.
    Sleepwalk(Target),
    /// What this node sends is held back and arrives all at once.
    Hold(Target),
    /// A process ends without a warning.
    Crash(Target, Unsynced),
    /// The same, after so many effects of a round.
    CrashAtEffect(Target, u8, Unsynced),
    /// All processes end at once.
    CrashAll(Unsynced),
    /// A process ends again and again, soon after each start.
    CrashLoop(Target, u8),
    /// A process does not run for a while.
    Pause(Target),
    /// A node stops as an operator stops it.
    Stop(Target),
    /// A node hears messages that nobody of the group sends.
    Junk(Target),
    /// A leader asks another node to take over, and goes on.
    HandOver(Target),
    /// Each sync takes so much longer.
    SlowSync(Target, Time),
    /// A sync fails; what it should have made durable is there or not.
    FailSync(Target, bool),
    /// The disk is full.
    NoSpace(Target),
    /// A bit of the log on disk flips while the process is down, or an older copy takes its place.
    LogRot(Target),
    /// The state on disk is gone while the process is down; the log has all of it.
    StateGone(Target),
    /// A wall clock jumps by so many milliseconds.
    ClockJump(Target, i64),
    /// A clock does not tick.
    ClockFreeze(Target),
    /// Each entry takes so much longer to apply.
    SlowApply(Target, Time),
    /// A process asks who follows it, and does not run for a while.
    Doze(Target),
    /// A leader asks another node to take over, and does not run for a while.
    OfferAndDoze(Target),
    /// A node and one other do not reach each other.
    Estrange(Target),
    /// A node is isolated, and all others but that one restart at once.
    Desert(Target),
    /// So many percent of the chunks of snapshots arrive damaged.
    DamagedChunks(u8),
    /// A process ends after so many steps with snapshots, sent or received.
    CrashInSnapshot(Target, u8),
    /// A node asks for a snapshot, although it needs none.
    Resync(Target),
    /// An operator adds a node, and gives it a vote.
    Grow,
    /// An operator removes a node.
    Shrink(Target),
    /// An operator has a new node take the place of another.
    Replace(Target),
    /// An operator has another node lead.
    Transfer(Target),
    /// A node's data are gone, and it comes back under its old name.
    Wipe(Target),
    /// A bit of a value that a replica writes flips.
    FlipWrite(Target, u32),
    /// A bit of a reply that a replica gives flips.
    FlipOutcome(Target, u32),
}

impl Fault {
    /// Whether an operator changes members.
    pub fn changes_members(&self) -> bool {
        matches!(self, Self::Grow | Self::Shrink(_) | Self::Replace(_))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: &Time| time / MS;
        match self {
            Self::Loss(percent) => write!(f, "{percent} % of messages lost"),
            Self::Duplicate(percent) => write!(f, "{percent} % of messages doubled"),
            Self::Reorder(by) => write!(f, "messages reordered by up to {} ms", ms(by)),
            Self::Delay(by) => write!(f, "messages delayed by {} ms", ms(by)),
            Self::FlipBits(permille) => write!(f, "{permille} ‰ of messages damaged"),
            Self::OneWay(from, to) => write!(f, "nothing gets from node {from} to {to}"),
            Self::Partition(side) => write!(f, "partition, one side is {}", set(*side)),
            Self::Isolate(target, way) => write!(f, "{target} is isolated, {way:?}"),
            Self::Sleepwalk(target) => {
                write!(f, "{target} is isolated, and its clock stands still")
            }
            Self::Bridge(node) => write!(f, "nodes meet through node {node} only"),
            Self::Hold(target) => write!(f, "messages of {target} held back, then all at once"),
            Self::Crash(target, disk) => write!(f, "{target} crashes, unsynced {disk:?}"),
            Self::CrashAtEffect(target, effect, disk) => {
                write!(f, "{target} crashes at effect {effect} of a round, unsynced {disk:?}")
            }
            Self::CrashAll(disk) => write!(f, "all nodes crash, unsynced {disk:?}"),
            Self::CrashLoop(target, times) => write!(f, "{target} crashes {times} times in a row"),
            Self::Pause(target) => write!(f, "{target} is paused"),
            Self::Stop(target) => write!(f, "{target} is stopped in order"),
            Self::Junk(target) => write!(f, "{target} hears what nobody sends"),
            Self::HandOver(target) => write!(f, "{target} hands leadership over"),
            Self::SlowSync(target, by) => write!(f, "syncs of {target} take {} ms more", ms(by)),
            Self::FailSync(target, is_kept) => {
                let kept = if *is_kept { "there" } else { "not" };
                write!(f, "a sync of {target} fails, its data is {kept}")
            }
            Self::NoSpace(target) => write!(f, "the disk of {target} is full"),
            Self::LogRot(target) => write!(f, "{target} crashes, its log is damaged"),
            Self::StateGone(target) => write!(f, "{target} crashes, its state is gone"),
            Self::ClockJump(target, by) => write!(f, "the clock of {target} jumps by {by} ms"),
            Self::ClockFreeze(target) => write!(f, "the clock of {target} stands still"),
            Self::Doze(target) => write!(f, "{target} asks who follows it, and is paused"),
            Self::OfferAndDoze(target) => write!(f, "{target} hands over, and is paused"),
            Self::Estrange(target) => write!(f, "{target} and one other are cut off"),
            Self::Desert(target) => write!(f, "{target} is isolated, all others but one restart"),
            Self::Grow => f.write_str("a node is added"),
            Self::Shrink(target) => write!(f, "{target} is removed"),
            Self::Replace(target) => write!(f, "{target} is replaced"),
            Self::Transfer(target) => write!(f, "{target} is asked to lead"),
            Self::Wipe(target) => write!(f, "{target} is wiped, and comes back as it was called"),
            Self::SlowApply(target, by) => write!(f, "entries take {target} {} ms more", ms(by)),
            Self::DamagedChunks(percent) => write!(f, "{percent} % of snapshots' chunks damaged"),
            Self::CrashInSnapshot(target, step) => {
                write!(f, "{target} crashes at step {step} with a snapshot")
            }
            Self::Resync(target) => write!(f, "{target} asks for a snapshot"),
            Self::FlipWrite(target, bit) => write!(f, "{target} writes bit {bit} wrong"),
            Self::FlipOutcome(target, bit) => write!(f, "{target} replies bit {bit} wrong"),
        }
    }
}

fn set(side: u8) -> String {
    let nodes: Vec<_> = (0..8).filter(|bit| side & 1 << bit != 0).map(|bit| bit + 1).collect();
    format!("{nodes:?}")
}

/// A fault, when it begins, and how long it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Episode {
    /// Its number in the plan, from 1.
    pub number: usize,
    /// When it begins.
    pub at: Time,
    /// How long it lasts; for a crash, how long the process stays down.
    pub lasts: Time,
    /// What goes wrong.
    pub fault: Fault,
}

impl fmt::Display for Episode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Time| (time / SECOND, time % SECOND / MS);
        let ((at, at_ms), (lasts, lasts_ms)) = (seconds(self.at), seconds(self.lasts));
        write!(
            f,
            "{:>3}  {at:>3}.{at_ms:03} s for {lasts:>2}.{lasts_ms:03} s: {}",
            self.number, self.fault
        )
    }
}

quorate_core::named! {
    /// A kind of fault, as the ledger counts it: by what it did, not by what was intended.
    #[expect(missing_docs, reason = "their names say it")]
    Kind {
        Loss = "message lost",
        Duplicate = "message doubled",
        Reorder = "message overtaken",
        Delay = "message delayed",
        MessageDamaged = "message damaged",
        OneWay = "one-way partition",
        Partition = "partition",
        Bridge = "bridge partition",
        Isolate = "node isolated",
        Sleepwalk = "node isolated, its clock frozen",
        Hold = "hold, then flood",
        Crash = "crash",
        CrashAtEffect = "crash at an effect",
        CrashAll = "crash of all",
        CrashLoop = "crash loop",
        Pause = "pause",
        Stop = "orderly stop",
        HandOver = "leadership handed over",
        Junk = "foreign messages",
        UnsyncedLost = "unsynced write lost",
        UnsyncedTorn = "unsynced write torn",
        UnsyncedReordered = "unsynced write reordered",
        StateLost = "unsynced state lost",
        Amnesia = "log in memory lost",
        SlowSync = "slow sync",
        HungSync = "hung sync",
        FailSync = "failed sync",
        NoSpace = "disk full",
        LogRot = "bit flipped in the log",
        LogCutBack = "log older than the state",
        StateGone = "state on disk gone",
        ClockJump = "clock jump",
        ClockFreeze = "clock frozen",
        ClockSkew = "clock skew",
        SlowApply = "slow apply",
        Doze = "pause within a read round",
        OfferAndDoze = "pause while handing over",
        Estrange = "leader and one other cut off",
        Desert = "leader isolated, others restarted",
        ChunkDamaged = "snapshot's chunk damaged",
        StreamBroken = "snapshot's stream broken",
        CrashInSnapshot = "crash within a snapshot",
        Resync = "snapshot asked for",
        SnapshotRepeated = "snapshot comes again",
        Grow = "node added",
        Shrink = "node removed",
        Replace = "node replaced",
        Transfer = "leadership transferred",
        CrashInChange = "crash in a joint configuration",
        Wiped = "node wiped",
        WipedRefused = "wiped node refused",
        FlipWrite = "bit flipped in a write",
        FlipOutcome = "bit flipped in a reply",
        Quarantine = "state in quarantine",
    }
}

/// How often each kind of fault fired, and how often progress was seen after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    fired: [u64; Kind::ALL.len()],
    recovered: [u64; Kind::ALL.len()],
    open: Vec<(Kind, u32)>,
}

impl Default for Ledger {
    fn default() -> Self {
        let none = [0; Kind::ALL.len()];
        Self { fired: none, recovered: none, open: Vec::new() }
    }
}

/// Faults that wait to be seen recovered from, at most: a flood of lost messages counts as one.
const OPEN_MAX: usize = 256;

impl Ledger {
    /// A fault fired at a node, or (0) between nodes.
    pub fn fire(&mut self, kind: Kind, node: u32) {
        self.fired[kind as usize] += 1;
        if self.open.len() < OPEN_MAX && !self.open.contains(&(kind, node)) {
            self.open.push((kind, node));
        }
    }

    /// A node has applied an entry that was new to it.
    pub fn progress(&mut self, node: u32) {
        let recovered = &mut self.recovered;
        self.open.retain(|(kind, at)| {
            let is_over = *at == node || *at == 0;
            if is_over {
                recovered[*kind as usize] += 1;
            }
            !is_over
        });
    }

    /// How often a kind has fired.
    pub fn fired(&self, kind: Kind) -> u64 {
        self.fired[kind as usize]
    }

    /// How often progress was seen after it.
    pub fn recovered(&self, kind: Kind) -> u64 {
        self.recovered[kind as usize]
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.fired.iter_mut().zip(other.fired) {
            *sum += more;
        }
        for (sum, more) in self.recovered.iter_mut().zip(other.recovered) {
            *sum += more;
        }
    }
}
