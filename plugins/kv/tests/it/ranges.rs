//! Range: bounds, order, limits, and going on from page to page.

use super::*;

/// Follows `more` to the end, in the way the `.proto` tells clients to.
fn all_pages(client: &mut Client<'_>, mut request: RangeRequest) -> Vec<KeyValue> {
    let mut all: Vec<KeyValue> = Vec::new();
    loop {
        let reply = client.range(request.clone());
        assert_eq!(reply.count, reply.kvs.len() as u64);
        all.extend(reply.kvs);
        if !reply.more {
            return all;
        }
        let last = &all.last().expect("there is never more behind nothing").key;
        if request.reverse {
            request.end.clone_from(last);
        } else {
            request.start = [last.as_slice(), &[0]].concat();
        }
    }
}

#[quorate_test::test(native, wasm, cluster)]
fn a_range_includes_its_start_and_not_its_end(t: &mut Machine<Store>) {
    let mut client = Client::with(t, &[b"a", b"b", b"c", b"d"]);
    let mut found = |start: &[u8], end: &[u8]| {
        let reply = client.range(range(start, end));
        assert!(!reply.more);
        assert_eq!(reply.revision, 4);
        reply.kvs.into_iter().map(|kv| kv.key).collect::<Vec<_>>()
    };
    assert_eq!(found(b"b", b"d"), [b"b", b"c"]);
    assert_eq!(found(b"c", b""), [b"c", b"d"]);
    assert_eq!(found(b"", b"b"), [b"a"]);
    assert_eq!(found(b"aa", b"bb"), [b"b"]);
    assert!(found(b"d", b"b").is_empty());
    assert!(found(b"b", b"b").is_empty());
}

#[quorate_test::test(native, wasm, cluster)]
fn a_limit_leaves_more(t: &mut Machine<Store>) {
    let mut client = Client::with(t, &[b"a", b"b", b"c"]);
    let mut limited = |limit, reverse| {
        let reply = client.range(RangeRequest { limit, reverse, ..range(b"", b"") });
        (reply.kvs.into_iter().map(|kv| kv.key[0]).collect::<Vec<_>>(), reply.more)
    };
    assert_eq!(limited(2, false), (b"ab".to_vec(), true));
    assert_eq!(limited(3, false), (b"abc".to_vec(), false));
    assert_eq!(limited(4, false), (b"abc".to_vec(), false));
    assert_eq!(limited(0, false), (b"abc".to_vec(), false));
    assert_eq!(limited(2, true), (b"cb".to_vec(), true));
    assert_eq!(limited(3, true), (b"cba".to_vec(), false));
}

#[quorate_test::test(native)]
fn pages_join_without_gap_or_overlap(t: &mut Machine<Store>) {
    let names: Vec<Vec<u8>> =
        (0..=255).flat_map(|b| [vec![b], vec![b, 0], vec![b, 0xff]]).collect();
    let mut client = Client(t);
    for name in &names {
        client.put(name, b"");
    }
    for limit in [1, 2, 7, 1_000] {
        let forward = all_pages(&mut client, RangeRequest { limit, ..range(b"", b"") });
        assert!(forward.iter().map(|kv| &kv.key).eq(&names));
        let request = RangeRequest { limit, reverse: true, ..range(b"", b"") };
        let backward = all_pages(&mut client, request);
        assert!(backward.iter().map(|kv| &kv.key).eq(names.iter().rev()));
    }
}

#[quorate_test::test(native)]
fn a_reply_is_bounded_in_bytes(t: &mut Machine<Store>) {
    let mut client = Client(t);
    for key in 0..4 {
        client.put(&[key], &vec![7; 400_000]);
    }
    let reply = client.range(range(b"", b""));
    assert_eq!((reply.count, reply.more), (2, true));
    assert_eq!(all_pages(&mut client, range(b"", b"")).len(), 4);
    let request = RangeRequest { keys_only: true, ..range(b"", b"") };
    assert_eq!(client.range(request).count, 4, "values that are not returned do not count");
}

#[quorate_test::test(native)]
fn a_reply_is_bounded_in_pairs(t: &mut Machine<Store>) {
    let mut client = Client(t);
    for key in 0..10_001_u32 {
        client.put(&key.to_be_bytes(), b"");
    }
    let reply = client.range(range(b"", b""));
    assert_eq!((reply.count, reply.more), (10_000, true));
    let request = RangeRequest { limit: u32::MAX, reverse: true, ..range(b"", b"") };
    assert_eq!(client.range(request).count, 10_000);
    let request = RangeRequest { count_only: true, limit: 1, ..range(b"", b"") };
    let reply = client.range(request);
    assert_eq!((reply.count, reply.kvs.len(), reply.more), (10_001, 0, false));
}

#[quorate_test::test(native, wasm, cluster)]
fn keys_come_without_values_but_with_revisions(t: &mut Machine<Store>) {
    let mut client = Client::with(t, &[b"a", b"b"]);
    let reply = client.range(RangeRequest { keys_only: true, ..range(b"b", b"") });
    let [kv] = reply.kvs.as_slice() else { panic!("{reply:?}") };
    assert_eq!((kv.key.as_slice(), kv.value.as_slice()), (b"b".as_slice(), b"".as_slice()));
    assert_eq!((kv.create_revision, kv.version), (2, 1));
}
