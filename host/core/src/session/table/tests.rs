//! Sessions at apply: what is executed, what is answered again, what expires; and that all of it is
//! the same after a restart between any two entries.

use crate::batch::{Payload, encode};
use crate::id::GroupId;
use crate::machine::{Machine, Program};
use crate::run::{Call, Run, Stop};
use crate::state::{self, Changes, MemoryState, Meta, StateStore, Value};

use super::*;

/// Appends its payload to the machine's text, and replies with the text.
const APPEND: u32 = 1;
/// The same, but is refused, with details.
const REFUSE: u32 = 2;

struct Text;

impl Program for Text {
    fn run(&mut self, mut run: Run) -> Result<Run, Fatal> {
        while let Some(call) = run.next_call() {
            match append(&mut run, &call) {
                Ok(reply) => run.finish(Ok(reply)),
                Err(Stop::Reject(rejection)) => run.finish(Err(rejection)),
                Err(Stop::Fatal(fatal)) => return Err(fatal),
            }
        }
        Ok(run)
    }
}

fn append(run: &mut Run, call: &Call) -> Result<Bytes, Stop> {
    let before = run.get(b"text")?.unwrap_or_default();
    let text = Bytes::from([&before[..], &call.payload].concat());
    run.put(b"text", &text)?;
    if call.method == REFUSE {
        let details = Bytes::from_static(b"details");
        return Err(Rejection::Status { code: 9, message: "no".to_owned(), details }.into());
    }
    Ok(text)
}

const LIMITS: SessionLimits = SessionLimits {
    sessions_max: 3,
    replies_max: 4,
    session_bytes_max: 10_000,
    table_bytes_max: 20_000,
};

/// A machine that begins anew before each entry, as after a restart.
struct Bench {
    state: Arc<MemoryState>,
    limits: SessionLimits,
    index: u64,
}

type Decided = (u64, Outcome);

impl Bench {
    fn new() -> Self {
        Self { state: Arc::default(), limits: LIMITS, index: 0 }
    }

    fn apply(&mut self, commands: &[Command]) -> Vec<Decided> {
        self.index += 1;
        let state = Arc::clone(&self.state) as Arc<dyn StateStore>;
        let mut machine = Machine::bounded(GroupId(1), Text, state, self.limits).unwrap();
        let id = LogId { term: 1, index: self.index };
        let decided = machine.apply(id, Payload::Commands(encode(1, commands.iter()))).unwrap();
        decided.into_iter().map(|(id, outcome)| (id.index, outcome)).collect()
    }

    fn open(&mut self) -> SessionId {
        let nonce = self.index * 7;
        let (_, id) = self.apply(&[Command::open_session(nonce)]).remove(0);
        std::str::from_utf8(&id.unwrap()).unwrap().parse().unwrap()
    }

    fn one(&mut self, command: Command) -> Decided {
        self.apply(&[command]).remove(0)
    }

    /// A command that is executed, or was.
    fn done(&mut self, command: Command) {
        let (_, outcome) = self.one(command);
        assert!(outcome.is_ok(), "{outcome:?}");
    }

    fn text(&self) -> Bytes {
        let text = self.state.snapshot().get(Space::Plugin, b"text").unwrap();
        text.map_or_else(Bytes::new, Bytes::from_owner)
    }

    /// How many records of sessions the state has.
    fn records(&self) -> usize {
        let mut records = 0;
        let view = self.state.snapshot();
        view.scan(Space::Sessions, Range::ALL, &mut |_, _| {
            records += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
        records
    }
}

fn call(id: SessionId, seq: u64, floor: u64, text: &'static str) -> Command {
    let session = Some(SessionUse::Call(SessionCall { id, seq, floor }));
    Command { session, ..Command::new(APPEND, Bytes::from_static(text.as_bytes())) }
}

fn told(index: u64, text: &'static str) -> Decided {
    (index, Ok(Bytes::from_static(text.as_bytes())))
}

fn refused(index: u64, error: SessionError) -> Decided {
    (index, Err(Rejection::Session(error)))
}

#[test]
fn a_duplicate_gets_the_first_reply_and_its_place() {
    let mut bench = Bench::new();
    let id = bench.open();
    assert_eq!(bench.one(call(id, 1, 1, "a")), told(2, "a"));
    assert_eq!(bench.one(call(id, 2, 1, "b")), told(3, "ab"));
    for _ in 0..3 {
        assert_eq!(bench.one(call(id, 1, 1, "a")), told(2, "a"));
        assert_eq!(bench.one(call(id, 2, 1, "b")), told(3, "ab"));
    }
    assert_eq!(bench.text(), "ab");
}

#[test]
fn a_duplicate_within_the_entry_too() {
    let mut bench = Bench::new();
    let id = bench.open();
    let (a, b) = (call(id, 1, 1, "a"), call(id, 2, 1, "b"));
    let plain = Command::new(APPEND, Bytes::from_static(b"-"));
    let entry = [b.clone(), plain.clone(), a.clone(), b.clone(), plain, a.clone()];
    let first = [told(2, "b"), told(2, "b-"), told(2, "b-a"), told(2, "b"), told(2, "b-a-")];
    let decided = bench.apply(&entry);
    assert_eq!(decided[..5], first);
    assert_eq!(decided[5], told(2, "b-a"));
    assert_eq!(bench.apply(&[a, b]), [told(2, "b-a"), told(2, "b")]);
    assert_eq!(bench.text(), "b-a-");
}

#[test]
fn a_rejection_is_kept_as_a_reply_is() {
    let mut bench = Bench::new();
    let id = bench.open();
    let refuse = Command { method: REFUSE, ..call(id, 1, 1, "x") };
    let first = bench.one(refuse.clone());
    assert!(matches!(&first.1, Err(Rejection::Status { code: 9, .. })), "{first:?}");
    bench.done(call(id, 2, 1, "a"));
    assert_eq!(bench.one(refuse), first);
    assert_eq!(bench.text(), "a");
}

#[test]
fn another_command_under_a_number_is_refused_and_the_reply_stays() {
    let mut bench = Bench::new();
    let id = bench.open();
    bench.done(call(id, 1, 1, "a"));
    let other_method = Command { method: REFUSE, ..call(id, 1, 1, "a") };
    for other in [call(id, 1, 1, "b"), other_method] {
        assert_eq!(bench.one(other.clone()).1, refused(0, SessionError::Reused).1);
        let decided = bench.apply(&[call(id, 1, 1, "a"), other, call(id, 1, 1, "a")]);
        assert_eq!(
            decided,
            [told(2, "a"), refused(bench.index, SessionError::Reused), told(2, "a")]
        );
    }
    let decided = bench.apply(&[call(id, 2, 1, "b"), call(id, 2, 1, "c")]);
    assert_eq!(decided[1].1, refused(0, SessionError::Reused).1);
    assert_eq!(bench.text(), "ab");
}

#[test]
fn below_the_floor_nothing_is_executed_and_nothing_is_kept() {
    let mut bench = Bench::new();
    let id = bench.open();
    bench.apply(&[call(id, 1, 1, "a"), call(id, 3, 1, "c")]);
    assert_eq!(bench.records(), 4, "how many were opened, the session, two replies");
    assert_eq!(bench.one(call(id, 5, 4, "e")), told(3, "ace"));
    assert_eq!(bench.records(), 3);
    for seq in 1..4 {
        // Whether it was executed before, or never; and however low its own floor is.
        let decided = bench.one(call(id, seq, 1, "x"));
        assert_eq!(decided.1, refused(0, SessionError::Forgotten { floor: 4 }).1);
    }
    assert_eq!(bench.one(call(id, 4, 1, "d")).1, told(0, "aced").1, "out of order is in order");
    // A reply whose floor is raised within its own entry is not kept.
    bench.apply(&[call(id, 6, 4, "f"), call(id, 9, 8, "i")]);
    assert_eq!(
        bench.one(call(id, 6, 1, "f")).1,
        refused(0, SessionError::Forgotten { floor: 8 }).1
    );
    assert_eq!(bench.text(), "acedfi");
    assert_eq!(bench.records(), 3);
}

#[test]
fn a_session_keeps_its_last_replies() {
    let mut bench = Bench::new();
    let id = bench.open();
    for seq in 1..=6 {
        bench.done(call(id, seq, 1, "a"));
    }
    assert_eq!(bench.records(), 2 + LIMITS.replies_max);
    let forgotten = SessionError::Forgotten { floor: 3 };
    assert_eq!(bench.one(call(id, 2, 1, "a")).1, refused(0, forgotten).1);
    assert_eq!(bench.one(call(id, 3, 1, "a")).1, told(0, "aaa").1);
}

#[test]
fn a_session_keeps_so_many_bytes() {
    let mut bench = Bench::new();
    bench.limits.session_bytes_max = 200;
    let id = bench.open();
    bench.done(call(id, 1, 1, "a"));
    bench.done(call(id, 2, 1, "b"));
    let long: &'static str = Box::leak("c".repeat(130).into_boxed_str());
    bench.done(call(id, 3, 1, long));
    assert_eq!(
        bench.one(call(id, 2, 1, "b")).1,
        refused(0, SessionError::Forgotten { floor: 3 }).1
    );
    assert!(bench.one(call(id, 3, 1, long)).1.is_ok());
    // One that no session could keep: executed once, and then refused.
    bench.done(call(id, 4, 1, long));
    bench.done(call(id, 5, 1, long));
    let forgotten = SessionError::Forgotten { floor: 6 };
    assert_eq!(bench.one(call(id, 5, 1, long)).1, refused(0, forgotten).1);
    assert_eq!(bench.records(), 2);
}

#[test]
fn the_least_recently_used_expires_and_executes_nothing_any_more() {
    let mut bench = Bench::new();
    let first = bench.open();
    let second = bench.open();
    let third = bench.open();
    bench.done(call(first, 1, 1, "a"));
    bench.done(call(second, 1, 1, "b"));
    // A duplicate is a use as well.
    bench.done(call(first, 1, 1, "a"));
    bench.done(call(third, 1, 1, "c"));
    let fourth = bench.open();
    assert_eq!(bench.records(), 1 + 3 + 2, "the second is gone, and its reply with it");
    for seq in [1, 2] {
        assert_eq!(bench.one(call(second, seq, 1, "b")).1, refused(0, SessionError::Expired).1);
    }
    for (id, text) in [(first, "a"), (third, "c")] {
        assert!(bench.one(call(id, 1, 1, text)).1.is_ok());
    }
    assert_eq!(bench.text(), "abc");
    bench.done(call(fourth, 1, 1, "d"));
    assert_eq!(bench.text(), "abcd");
}

#[test]
fn the_table_keeps_so_many_bytes() {
    let mut bench = Bench::new();
    bench.limits.table_bytes_max = 300;
    let (first, second) = (bench.open(), bench.open());
    let long: &'static str = Box::leak("c".repeat(130).into_boxed_str());
    bench.done(call(first, 1, 1, long));
    bench.done(call(second, 1, 1, "b"));
    assert_eq!(bench.one(call(first, 1, 1, long)).1, refused(0, SessionError::Expired).1);
    assert!(bench.one(call(second, 1, 1, "b")).1.is_ok());
}

#[test]
fn an_entry_may_open_more_than_there_may_be() {
    let mut bench = Bench::new();
    let opened = bench.apply(&vec![Command::open_session(1); 5]);
    let ids: Vec<SessionId> = opened
        .into_iter()
        .map(|(_, id)| std::str::from_utf8(&id.unwrap()).unwrap().parse().unwrap())
        .collect();
    let alive = |bench: &mut Bench, id| bench.one(call(id, 1, 1, "a")).1.is_ok();
    let alive: Vec<bool> = ids.into_iter().map(|id| alive(&mut bench, id)).collect();
    assert_eq!(alive, [false, false, true, true, true]);
}

#[test]
fn an_id_that_was_never_given_is_refused() {
    let mut bench = Bench::new();
    let id = bench.open();
    for wrong in [
        SessionId { number: id.number + 1, ..id },
        SessionId { number: 0, ..id },
        SessionId { nonce: id.nonce + 1, ..id },
    ] {
        assert_eq!(bench.one(call(wrong, 1, 1, "a")).1, refused(0, SessionError::NeverOpened).1);
    }
    assert_eq!(bench.text(), "");
}

#[test]
fn the_last_number_of_all() {
    let mut bench = Bench::new();
    let id = bench.open();
    let last = u64::MAX - 1;
    assert_eq!(bench.one(call(id, last, 1, "a")), told(2, "a"));
    assert_eq!(bench.one(call(id, last, last, "a")), told(2, "a"));
    let forgotten = SessionError::Forgotten { floor: last };
    assert_eq!(bench.one(call(id, u64::MAX, last, "a")), refused(4, forgotten));
}

#[test]
fn a_damaged_table_is_no_table() {
    let mut bench = Bench::new();
    let id = bench.open();
    bench.done(call(id, 1, 1, "a"));
    let damage = |key: Key| {
        let key = key.encode();
        let view = bench.state.snapshot();
        let mut sessions = Writes::new();
        view.scan(Space::Sessions, Range::ALL, &mut |key, record| {
            sessions.insert(state::Key::from_slice(key), Some(Value::from(record)));
            ControlFlow::Continue(())
        })
        .unwrap();
        let damaged = MemoryState::new();
        let loads = |sessions: &Writes| {
            let changes = Changes { sessions: sessions.clone(), ..Changes::default() };
            damaged.commit(&changes, Meta::default()).unwrap();
            Table::load(&*damaged.snapshot(), LIMITS)
        };
        assert!(loads(&sessions).is_ok(), "it is sound but for what follows");
        sessions.insert(key, Some(Value::from(*b"?")));
        (loads(&sessions), damaged.snapshot())
    };
    for key in [Key::Opened, Key::Session(1), Key::Session(9), Key::Reply(9, 1)] {
        let (loaded, _) = damage(key);
        assert!(loaded.err().unwrap().is_damage(), "{:?}", key.encode());
    }
    // A reply is read when somebody asks for it.
    let (loaded, view) = damage(Key::Reply(1, 1));
    let mut table = loaded.unwrap();
    let mut entry = table.begin(view, LogId { term: 1, index: 9 });
    let asked = entry.admit(0, &call(id, 1, 1, "a"));
    assert!(asked.err().unwrap().is_damage());
}
