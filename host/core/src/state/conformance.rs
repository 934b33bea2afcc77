//! What every [`StateStore`] must do, run against each of them by its own tests.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::{Changes, Key, Meta, Range, Space, StateBuilder, StateStore, StateView, Value, Writes};
use crate::id::LogId;

/// Runs the whole suite; `open` makes a new, empty state each time.
pub fn suite<S: StateStore>(open: impl Fn() -> S) {
    begins_empty(&open());
    commits_pairs_and_meta_together(&open());
    a_snapshot_does_not_move(&open());
    scans_both_ways(&open());
    a_scan_stops_when_told(&open());
    keys_are_bytes(&open());
    spaces_are_apart(&open());
}

/// The same for what builds states; `create` begins one each time.
pub fn builders<B: StateBuilder>(create: impl Fn() -> B) {
    let built = create().finish(meta(7)).expect("finish");
    assert_eq!(built.snapshot().meta(), &meta(7), "a state may have no pairs");
    builds_what_it_was_given(create());
}

/// Writes of a plugin for tests: `(key, Some(value))` or `(key, None)`.
pub fn writes(pairs: &[(&'static [u8], Option<&'static [u8]>)]) -> Changes {
    let own = |(key, value): &(&'static [u8], Option<&'static [u8]>)| {
        (Key::from_slice(key), value.map(Value::from))
    };
    pairs.iter().map(own).collect::<Writes>().into()
}

/// A meta for tests.
pub fn meta(index: u64) -> Meta {
    Meta {
        applied: LogId { term: 1, index },
        time_ms: index * 10,
        conf: Bytes::from(index.to_le_bytes().to_vec()),
        digest: !index,
    }
}

/// The plugin's pairs of a range, as a scan shows them.
pub fn pairs(view: &dyn StateView, range: Range<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    pairs_of(view, Space::Plugin, range)
}

fn pairs_of(view: &dyn StateView, space: Space, range: Range<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut out = Vec::new();
    view.scan(space, range, &mut |key, value| {
        out.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })
    .expect("scan");
    out
}

fn keys(view: &dyn StateView, lo: &[u8], hi: Option<&[u8]>, reverse: bool) -> Vec<Vec<u8>> {
    pairs(view, Range { lo, hi, reverse }).into_iter().map(|(key, _)| key).collect()
}

fn begins_empty(state: &impl StateStore) {
    let view = state.snapshot();
    assert_eq!(view.meta(), &Meta::default());
    assert_eq!(view.get(Space::Plugin, b"").expect("get"), None);
    assert!(keys(&*view, b"", None, false).is_empty());
}

fn commits_pairs_and_meta_together(state: &impl StateStore) {
    state.commit(&writes(&[(b"a", Some(b"1")), (b"b", Some(b""))]), meta(1)).expect("commit");
    state.commit(&writes(&[(b"a", None), (b"c", Some(b"3"))]), meta(2)).expect("commit");
    state.commit(&Changes::default(), meta(3)).expect("commit");
    state.flush().expect("flush");
    let view = state.snapshot();
    assert_eq!(view.meta(), &meta(3));
    assert_eq!(view.get(Space::Plugin, b"a").expect("get"), None);
    assert_eq!(view.get(Space::Plugin, b"b").expect("get").as_deref(), Some(b"".as_slice()));
    assert_eq!(view.get(Space::Plugin, b"c").expect("get").as_deref(), Some(b"3".as_slice()));
}

fn a_snapshot_does_not_move(state: &impl StateStore) {
    state.commit(&writes(&[(b"a", Some(b"1"))]), meta(1)).expect("commit");
    let before = state.snapshot();
    state.commit(&writes(&[(b"a", Some(b"2")), (b"b", Some(b"2"))]), meta(2)).expect("commit");
    assert_eq!(before.meta(), &meta(1));
    assert_eq!(before.get(Space::Plugin, b"a").expect("get").as_deref(), Some(b"1".as_slice()));
    assert_eq!(keys(&*before, b"", None, false), [b"a"]);
    assert_eq!(keys(&*state.snapshot(), b"", None, false), [b"a", b"b"]);
}

fn scans_both_ways(state: &impl StateStore) {
    let all = [b"a", b"b", b"c", b"d"];
    let all = all.map(|key| (key.as_slice(), Some(b"v".as_slice())));
    state.commit(&writes(&all), meta(1)).expect("commit");
    let view = state.snapshot();
    assert_eq!(keys(&*view, b"b", Some(b"d"), false), [b"b", b"c"]);
    assert_eq!(keys(&*view, b"b", Some(b"d"), true), [b"c", b"b"]);
    assert_eq!(keys(&*view, b"bb", None, false), [b"c", b"d"]);
    assert_eq!(keys(&*view, b"", None, true), [b"d", b"c", b"b", b"a"]);
    assert!(keys(&*view, b"c", Some(b"b"), false).is_empty(), "a range that ends before it begins");
    assert!(keys(&*view, b"c", Some(b"c"), true).is_empty());
}

fn a_scan_stops_when_told(state: &impl StateStore) {
    state.commit(&writes(&[(b"a", Some(b"1")), (b"b", Some(b"2"))]), meta(1)).expect("commit");
    let mut seen = 0;
    state
        .snapshot()
        .scan(Space::Plugin, Range::ALL, &mut |_, _| {
            seen += 1;
            ControlFlow::Break(())
        })
        .expect("scan");
    assert_eq!(seen, 1);
}

fn keys_are_bytes(state: &impl StateStore) {
    let all: [&'static [u8]; 6] = [b"", b"\0", b"\0\0", b"\x7f", b"\x80", b"\xff\xff"];
    state.commit(&writes(&all.map(|key| (key, Some(key)))), meta(1)).expect("commit");
    let view = state.snapshot();
    assert_eq!(keys(&*view, b"", None, false), all);
    assert_eq!(keys(&*view, b"\xff", None, false), [b"\xff\xff"]);
    let found = view.get(Space::Plugin, b"\xff\xff").expect("get");
    assert_eq!(found.as_deref(), Some(b"\xff\xff".as_slice()));
}

fn spaces_are_apart(state: &impl StateStore) {
    let own = |pairs| writes(pairs).plugin;
    let (plugin, sessions) = (own(&[(b"a", Some(b"1"))]), own(&[(b"", Some(b"2"))]));
    state.commit(&Changes { plugin, sessions }, meta(1)).expect("commit");
    let (plugin, sessions) = (own(&[(b"a", None)]), own(&[(b"a", Some(b"3"))]));
    let before = state.snapshot();
    state.commit(&Changes { plugin, sessions }, meta(2)).expect("commit");
    for (view, plugin, sessions) in [
        (
            before,
            &[(b"a".as_slice(), b"1".as_slice())][..],
            &[(b"".as_slice(), b"2".as_slice())][..],
        ),
        (state.snapshot(), &[], &[(b"", b"2"), (b"a", b"3")]),
    ] {
        for (space, expected) in [(Space::Plugin, plugin), (Space::Sessions, sessions)] {
            for reverse in [false, true] {
                let mut found = pairs_of(&*view, space, Range { reverse, ..Range::ALL });
                if reverse {
                    found.reverse();
                }
                let expected: Vec<_> =
                    expected.iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
                assert_eq!(found, expected, "{space:?}");
            }
            for (key, value) in expected {
                assert_eq!(view.get(space, key).expect("get").as_deref(), Some(*value));
            }
            assert_eq!(view.get(space, b"b").expect("get"), None);
        }
    }
}

fn builds_what_it_was_given(mut builder: impl StateBuilder) {
    builder.put(Space::Plugin, b"", b"1").expect("put");
    builder.put(Space::Plugin, b"b", b"").expect("put");
    builder.put(Space::Sessions, b"a", b"3").expect("put");
    let state = builder.finish(meta(9)).expect("finish");
    let before = state.snapshot();
    assert_eq!(before.meta(), &meta(9));
    let plugin = [(b"".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"".to_vec())];
    assert_eq!(pairs_of(&*before, Space::Plugin, Range::ALL), plugin);
    let sessions = [(b"a".to_vec(), b"3".to_vec())];
    assert_eq!(pairs_of(&*before, Space::Sessions, Range::ALL), sessions);
    // And then it is a state like any other.
    state.commit(&writes(&[(b"b", None)]), meta(10)).expect("commit");
    assert_eq!(keys(&*state.snapshot(), b"", None, false), [b""]);
    assert_eq!(before.meta(), &meta(9));
}
