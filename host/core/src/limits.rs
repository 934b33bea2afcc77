//! Every bound of the system, unit in the name. Relations between them are asserted at compile
//! time: a limit that contradicts another does not build.

pub use quorate_abi::limits::{KEY_BYTES_MAX, REPLY_BYTES_MAX, VALUE_BYTES_MAX};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The encoded request of one call.
pub const REQUEST_BYTES_MAX: usize = 3 * MIB / 2;
/// A message that a plugin puts into a status; what is longer is cut.
pub const STATUS_MESSAGE_BYTES_MAX: usize = KIB;
/// The details that a plugin puts into a status. gRPC carries message and details in headers, the
/// former percent-encoded and the latter in base64; some clients take 8 KiB of headers in all.
pub const STATUS_DETAILS_BYTES_MAX: usize = 2 * KIB;

/// All keys and values that one command writes.
pub const COMMAND_WRITE_BYTES_MAX: usize = 16 * MIB;
/// All that the commands of one entry write: what an entry may hold in memory on every replica.
pub const ENTRY_WRITE_BYTES_MAX: usize = 64 * MIB;
/// All that the commands of one entry reply.
pub const ENTRY_REPLY_BYTES_MAX: usize = 64 * MIB;
/// A line that a plugin logs; what is longer is cut.
pub const LOG_LINE_BYTES_MAX: usize = 4 * KIB;

/// Commands that travel as one log entry.
pub const BATCH_COMMANDS_MAX: usize = 4096;
/// Payload bytes at which a batch is full. A single larger request travels alone.
pub const BATCH_BYTES_MAX: usize = MIB;
/// An encoded batch: the largest is either a full one or one large request.
pub const ENTRY_BYTES_MAX: usize = REQUEST_BYTES_MAX + 64 * KIB;
/// What an entry needs for one command beside its payload, its own header included.
pub const COMMAND_OVERHEAD_BYTES_MAX: usize = 64;
/// Commands that wait for the batcher; further callers wait in their handlers.
pub const SUBMIT_MAX: usize = 1024;

/// One append message of raft: as many entries as fit, at least one.
pub const RAFT_MESSAGE_BYTES_MAX: usize = MIB;
/// Append messages on their way to one follower.
pub const RAFT_INFLIGHT_MESSAGES_MAX: usize = 256;
/// Committed entries that one round hands to apply.
pub const COMMITTED_BYTES_PER_READY_MAX: usize = 8 * MIB;
/// Entries proposed by this leader and not committed yet.
pub const UNCOMMITTED_BYTES_MAX: usize = 64 * MIB;
/// Committed entries that wait in consensus because apply is behind.
pub const PARKED_BYTES_MAX: usize = 64 * MIB;
/// The same when consensus itself waits for apply. Only what was in the log before it stopped to
/// take entries gets it there.
pub const PARKED_BYTES_HARD_MAX: usize = PARKED_BYTES_MAX + 2 * UNCOMMITTED_BYTES_MAX;
/// Recent entries that a durable log also keeps in memory.
pub const LOG_CACHE_BYTES_MAX: usize = 64 * MIB;
/// Entries of a log before it is cut. A part of them stays, for followers that are slow: whoever is
/// further behind needs a snapshot.
pub const LOG_ENTRIES_MAX: u64 = 65_536;
/// The same in bytes.
pub const LOG_BYTES_MAX: u64 = 256 * MIB as u64;
/// What stays of a log that is cut is its bounds divided by this.
pub const LOG_TAIL_PART: u64 = 4;
/// How many times as long a log may get while a member that is alive needs its entries, such as one
/// that is being sent a snapshot.
pub const LOG_HELD_FACTOR: u64 = 4;
/// Ticks without news of a snapshot that is on its way to another member, before it counts as lost.
pub const SNAPSHOT_TICKS_MAX: u32 = 300;
/// Calls that a node takes on at a time, its own clients' and those that other nodes hand on.
pub const CALLS_MAX: usize = 4096;
/// The bytes of their requests, all together.
pub const CALL_BYTES_MAX: usize = 64 * MIB;
/// Commands of one stream that are under way. The node reads no further when there are as many.
pub const PIPELINE_COMMANDS_MAX: usize = 16_384;
/// The bytes of their requests, as a node counts what it takes on, at which it reads no further.
pub const PIPELINE_BYTES_MAX: usize = 8 * MIB;
/// A message of commands. The stream of a larger one ends.
pub const PIPELINE_MESSAGE_BYTES_MAX: usize = 2 * MIB;
/// Replies at which a message of outcomes is full. A single larger one travels with what is there.
pub const PIPELINE_REPLY_BYTES: usize = 256 * KIB;
/// After how many milliseconds a caller that was refused for want of room is told to come back, at
/// the least.
pub const RETRY_AFTER_MS_MIN: u64 = 250;
/// The same at the most, however many there are.
pub const RETRY_AFTER_MS_MAX: u64 = 10_000;
/// Microseconds between two callers that come back.
pub const RETURNS_EVERY_US: u64 = 1_000;
/// How many milliseconds a command waits for the batcher before it is refused.
pub const SUBMIT_WAIT_MS_MAX: u64 = 1_000;
/// Raft messages that wait for consensus, and as many bytes for each peer's connection.
pub const PEER_QUEUE_BYTES_MAX: usize = 32 * MIB;
/// Snapshots that a node sends at the same time.
pub const SNAPSHOTS_SENT_MAX: usize = 2;
/// Bytes of one snapshot that leave within a second, as they travel.
pub const SNAPSHOT_BYTES_PER_SECOND_MAX: u64 = 32 * MIB as u64;
/// Linearizable reads that wait for a read index.
pub const READS_WAITING_MAX: usize = 65_536;

/// Content at which a chunk of a snapshot is full, before compression.
pub const SNAPSHOT_CHUNK_BYTES: usize = 512 * KIB;
/// The same for a record that is larger, and travels alone.
pub const SNAPSHOT_CHUNK_BYTES_MAX: usize = 8 * MIB;
/// Snapshots that operators save from one node at the same time. Each pins a state.
pub const SNAPSHOT_SAVES_MAX: usize = 2;
/// Wall-clock time that whoever saves a snapshot may take for one chunk, in milliseconds.
pub const SNAPSHOT_SAVE_STALL_MS_MAX: u64 = 60_000;

/// Ticks without a heartbeat before an election, at the least; at most twice as many.
pub const ELECTION_TICKS: u32 = 10;
/// Ticks between heartbeats.
pub const HEARTBEAT_TICKS: u32 = 1;
/// Ticks that a leader's lease lasts.
pub const LEASE_TICKS: u32 = 8;
/// How much faster or slower than real time any member's clock may run, where there are leases.
pub const CLOCK_DRIFT_PERCENT_MAX: u32 = 5;
/// Ticks that a read waits for a read index before it is refused.
pub const READ_TICKS_MAX: u32 = 50;

/// Sessions of one machine. Another one makes that expire which was used least recently.
pub const SESSIONS_MAX: usize = 10_000;
/// Replies that a session keeps: its client may have as many calls under way at once.
pub const SESSION_REPLIES_MAX: usize = 128;
/// All replies that a session keeps.
pub const SESSION_BYTES_MAX: usize = 8 * MIB;
/// All replies that all sessions of one machine keep.
pub const SESSIONS_BYTES_MAX: usize = 128 * MIB;

/// A module as it is uploaded.
pub const MODULE_BYTES_MAX: usize = 16 * MIB;
/// Linear memory of one guest instance.
pub const GUEST_MEMORY_BYTES_MAX: usize = 64 * MIB;
/// Elements in a guest's tables.
pub const GUEST_TABLE_ELEMENTS_MAX: usize = 10_000;
/// Fuel of one command; about one unit for each WebAssembly instruction.
pub const COMMAND_FUEL_MAX: u64 = 100_000_000;
/// Wall-clock time of one query, in milliseconds.
pub const QUERY_MS_MAX: u64 = 2_000;
/// Queries that run at the same time on one node; further ones wait.
pub const QUERIES_RUNNING_MAX: usize = 32;
/// Queries that are run one after the other by one instance.
pub const QUERIES_PER_INSTANCE_MAX: usize = 256;
/// How long a query waits for those before it until it is run beside them, in milliseconds.
pub const QUERY_PATIENCE_MS: u64 = 5;

/// Digests of the latest entries that a node keeps, to compare with others that are behind.
pub const DIGESTS_KEPT_MAX: usize = 16_384;
/// Of these, so many are told to others at a time: more than are applied in a tick, so that a
/// divergence can be traced to its entry.
pub const REPORT_DIGESTS_MAX: usize = 256;
/// What the latest entries have changed, kept for evidence.
pub const TRAIL_BYTES_MAX: usize = 4 * MIB;
/// The same, in entries.
pub const TRAIL_ENTRIES_MAX: usize = 1024;
/// Ticks after which a node's report on its state is too old to count.
pub const REPORT_STALE_TICKS: u32 = 10;
/// What must be free on a disk, in percent of it, or else nothing is written but what makes room.
pub const DISK_RESERVE_PERCENT: u64 = 5;
/// The same in bytes: on a large disk less than that share is enough.
pub const DISK_RESERVE_BYTES: u64 = 256 * MIB as u64;
/// Ticks that a node waits to hear from others, when as many have another state as have its own.
pub const TIE_TICKS: u32 = 4;

/// Times that a command is handed on from node to node in search of the leader.
pub const FORWARD_HOPS_MAX: u32 = 3;
/// Voters of one group.
pub const VOTERS_MAX: usize = 7;
/// Members of one group that follow without a vote.
pub const LEARNERS_MAX: usize = 8;
/// Nodes that a group remembers, those that were removed included.
pub const SEATS_MAX: usize = 256;
/// The address of a node.
pub const ADDRESS_BYTES_MAX: usize = 256;
/// How far behind a learner may be to get a vote: a fraction of a second of a busy group.
pub const CATCH_UP_ENTRIES_MAX: u64 = 64;
/// Members whose data folder a node remembers.
pub const ACQUAINTANCES_MAX: usize = 1024;

/// A full batch must fit its entry, else it could be proposed but never decoded.
const _: () =
    assert!(BATCH_BYTES_MAX + BATCH_COMMANDS_MAX * COMMAND_OVERHEAD_BYTES_MAX <= ENTRY_BYTES_MAX);
/// The largest request alone must fit an entry.
const _: () = assert!(REQUEST_BYTES_MAX + COMMAND_OVERHEAD_BYTES_MAX <= ENTRY_BYTES_MAX);
/// Raft refuses proposals once this is reached; one append message must always fit.
const _: () = assert!(UNCOMMITTED_BYTES_MAX >= RAFT_MESSAGE_BYTES_MAX + ENTRY_BYTES_MAX);
/// Consensus must notice a backlog before it has to wait for it.
const _: () = assert!(PARKED_BYTES_MAX + COMMITTED_BYTES_PER_READY_MAX < PARKED_BYTES_HARD_MAX);
/// A command within its own limits must fit an entry, at least alone.
const _: () = assert!(COMMAND_WRITE_BYTES_MAX <= ENTRY_WRITE_BYTES_MAX);
const _: () = assert!(REPLY_BYTES_MAX <= ENTRY_REPLY_BYTES_MAX);
/// A session must be able to keep any one reply, and the machine what any one session keeps.
const _: () = assert!(REPLY_BYTES_MAX + KIB <= SESSION_BYTES_MAX);
const _: () = assert!(SESSION_BYTES_MAX <= SESSIONS_BYTES_MAX);
/// A pair must fit what a command may write.
const _: () = assert!(KEY_BYTES_MAX + VALUE_BYTES_MAX <= COMMAND_WRITE_BYTES_MAX);
/// A value must fit a reply and a request.
const _: () = assert!(VALUE_BYTES_MAX < REPLY_BYTES_MAX && VALUE_BYTES_MAX < REQUEST_BYTES_MAX);
/// What is kept for slow followers must be more than what is on its way to them.
const _: () = assert!(LOG_BYTES_MAX / LOG_TAIL_PART >= UNCOMMITTED_BYTES_MAX as u64);
/// What is told must be known.
const _: () = assert!(REPORT_DIGESTS_MAX <= DIGESTS_KEPT_MAX);
/// A wrong state is in quarantine within ten ticks, which are a second: a report has to come,
/// perhaps a second one, and then there is the wait.
const _: () = assert!(TIE_TICKS + 4 <= REPORT_STALE_TICKS && REPORT_STALE_TICKS <= 10);
/// A lost heartbeat must not start an election.
const _: () = assert!(ELECTION_TICKS > 2 * HEARTBEAT_TICKS);
/// Every record must fit a chunk: a pair of a plugin, or a reply that a session keeps.
const _: () = assert!(2 * REPLY_BYTES_MAX <= SNAPSHOT_CHUNK_BYTES_MAX);
const _: () = assert!(KEY_BYTES_MAX + VALUE_BYTES_MAX + 64 <= SNAPSHOT_CHUNK_BYTES_MAX);
/// On the leader's slowest clock, a lease must end before a follower's fastest lets it vote. Its
/// first tick may come right after it has heard, so it waits for one less than it counts.
const _: () = assert!(
    LEASE_TICKS * (100 + CLOCK_DRIFT_PERCENT_MAX)
        < (ELECTION_TICKS - 1) * (100 - CLOCK_DRIFT_PERCENT_MAX)
);
/// The largest request must fit a message, to be refused or taken by itself; and all that one
/// message holds, with what each of its commands counts for at the least, what a node takes on.
const _: () = assert!(REQUEST_BYTES_MAX + 64 * KIB <= PIPELINE_MESSAGE_BYTES_MAX);
const _: () = assert!(
    PIPELINE_BYTES_MAX + PIPELINE_COMMANDS_MAX * COMMAND_OVERHEAD_BYTES_MAX <= CALL_BYTES_MAX
);
/// The largest request must fit what a node takes on, and the largest message its queue.
const _: () = assert!(REQUEST_BYTES_MAX <= CALL_BYTES_MAX);
const _: () = assert!(RAFT_MESSAGE_BYTES_MAX + ENTRY_BYTES_MAX <= PEER_QUEUE_BYTES_MAX);
