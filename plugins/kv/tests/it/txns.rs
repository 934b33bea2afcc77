//! Txn: what compares as what, which branch runs, and what one revision covers.

use kv::compare::{Op as CompareOp, Target as CompareTarget};
use kv::txn_op::Op;
use kv::txn_op_reply::Reply;
use kv::{Compare, TxnOp};

use super::*;

fn compare(key: &[u8], op: CompareOp, target: CompareTarget) -> Compare {
    Compare { key: key.to_vec(), op: op.into(), target: Some(target) }
}

fn ops(ops: impl IntoIterator<Item = Op>) -> Vec<TxnOp> {
    ops.into_iter().map(|op| TxnOp { op: Some(op) }).collect()
}

fn get(key: &[u8]) -> Op {
    Op::Get(GetRequest { key: key.to_vec() })
}

/// A transaction that only does these.
fn unconditional(list: impl IntoIterator<Item = Op>) -> TxnRequest {
    TxnRequest { success: ops(list), ..TxnRequest::default() }
}

/// Whether a comparison holds.
fn holds(client: &mut Client<'_>, key: &[u8], op: CompareOp, target: CompareTarget) -> bool {
    let compare = vec![compare(key, op, target)];
    client.txn(TxnRequest { compare, ..TxnRequest::default() }).succeeded
}

#[quorate_test::test(native, wasm, cluster)]
fn every_property_compares_with_every_op(t: &mut Machine<Store>) {
    use CompareTarget::{CreateRevision, ModRevision, Value, Version};

    let mut client = Client::with(t, &[b"x", b"k"]);
    client.put(b"k", b"m");
    // `k` was created at 2, put again at 3, and is at version 2.
    let properties: [(CompareTarget, CompareTarget, CompareTarget); 4] = [
        (Version(1), Version(2), Version(3)),
        (CreateRevision(1), CreateRevision(2), CreateRevision(3)),
        (ModRevision(2), ModRevision(3), ModRevision(4)),
        (Value(b"lzz".to_vec()), Value(b"m".to_vec()), Value(b"m\0".to_vec())),
    ];
    for (below, same, above) in properties {
        // How the store's side, on the left, stands to each of the three on the right.
        for (op, expected) in [
            (CompareOp::Equal, [false, true, false]),
            (CompareOp::NotEqual, [true, false, true]),
            (CompareOp::Greater, [true, false, false]),
            (CompareOp::Less, [false, false, true]),
        ] {
            let targets = [below.clone(), same.clone(), above.clone()];
            let held = targets.map(|target| holds(&mut client, b"k", op, target));
            assert_eq!(held, expected, "{op:?} {same:?}");
        }
    }
}

#[quorate_test::test(native, wasm, cluster)]
fn a_missing_key_has_zeros_and_no_value(t: &mut Machine<Store>) {
    let mut client = Client(t);
    assert!(holds(&mut client, b"k", CompareOp::Equal, CompareTarget::Version(0)));
    assert!(holds(&mut client, b"k", CompareOp::Equal, CompareTarget::CreateRevision(0)));
    assert!(holds(&mut client, b"k", CompareOp::Less, CompareTarget::ModRevision(1)));
    for op in [CompareOp::Equal, CompareOp::NotEqual, CompareOp::Greater, CompareOp::Less] {
        assert!(!holds(&mut client, b"k", op, CompareTarget::Value(vec![])));
    }
}

#[quorate_test::test(native, wasm, cluster)]
fn a_lock_is_taken_once(t: &mut Machine<Store>) {
    let mut client = Client(t);
    let take = |owner: &[u8]| TxnRequest {
        compare: vec![compare(b"lock", CompareOp::Equal, CompareTarget::CreateRevision(0))],
        success: ops([Op::Put(put(b"lock", owner))]),
        failure: ops([get(b"lock")]),
    };
    let first = client.txn(take(b"ann"));
    assert!(first.succeeded);
    assert_eq!(first.revision, 1);

    let second = client.txn(take(b"bob"));
    assert!(!second.succeeded);
    assert_eq!(second.revision, 1, "reading is no change");
    let Some(Reply::Get(reply)) = &second.responses[0].reply else { panic!("{second:?}") };
    assert_eq!(reply.kv.as_ref().map(|kv| kv.value.as_slice()), Some(b"ann".as_slice()));
    assert_eq!(reply.revision, 1);
}

#[quorate_test::test(native, wasm, cluster)]
fn all_comparisons_must_hold(t: &mut Machine<Store>) {
    let mut client = Client::with(t, &[b"a"]);
    let there = compare(b"a", CompareOp::Equal, CompareTarget::Version(1));
    let not_there = compare(b"b", CompareOp::Equal, CompareTarget::Version(1));
    let request = |compare| TxnRequest { compare, ..TxnRequest::default() };
    assert!(client.txn(request(vec![there.clone(), there.clone()])).succeeded);
    assert!(!client.txn(request(vec![there, not_there])).succeeded);
}

#[quorate_test::test(native, wasm, cluster)]
fn all_changes_share_one_revision_and_reads_see_them(t: &mut Machine<Store>) {
    let mut client = Client::with(t, &[b"a", b"b"]);
    let reply = client.txn(unconditional([
        Op::Put(PutRequest { prev_kv: true, ..put(b"a", b"new") }),
        get(b"a"),
        Op::Delete(delete_key(b"b")),
        Op::Range(range(b"", b"")),
        Op::Put(put(b"c", b"c")),
        Op::Range(RangeRequest { count_only: true, ..range(b"", b"") }),
    ]));
    assert_eq!(reply.revision, 3);
    let replies: Vec<_> =
        reply.responses.into_iter().filter_map(|response| response.reply).collect();
    let [
        Reply::Put(put_a),
        Reply::Get(get_a),
        Reply::Delete(delete_b),
        Reply::Range(all),
        Reply::Put(put_c),
        Reply::Range(count),
    ] = replies.as_slice()
    else {
        panic!("{replies:?}")
    };
    assert_eq!(put_a.prev_kv.as_ref().map(|kv| kv.version), Some(1));
    let a = get_a.kv.as_ref().expect("it is there");
    assert_eq!((a.value.as_slice(), a.mod_revision, a.version), (b"new".as_slice(), 3, 2));
    assert_eq!(delete_b.deleted, 1);
    assert_eq!(keys(&all.kvs), [b"a"]);
    assert_eq!(count.count, 2);
    let revisions =
        [put_a.revision, get_a.revision, delete_b.revision, all.revision, put_c.revision];
    assert_eq!(revisions, [3; 5]);
    assert_eq!(client.get(b"c").expect("it is there").create_revision, 3);
}

#[quorate_test::test(native, wasm, cluster)]
fn what_is_deleted_and_put_in_one_step_is_new(t: &mut Machine<Store>) {
    let mut client = Client::with(t, &[b"a"]);
    client.put(b"a", b"again");
    client.txn(unconditional([Op::Delete(delete_key(b"a")), Op::Put(put(b"a", b"new"))]));
    let a = client.get(b"a").expect("it is there");
    assert_eq!((a.create_revision, a.mod_revision, a.version), (3, 3, 1));
}

#[quorate_test::test(native, wasm, cluster)]
fn an_empty_transaction_succeeds_and_changes_nothing(t: &mut Machine<Store>) {
    let mut client = Client::with(t, &[b"a"]);
    let reply = client.txn(TxnRequest::default());
    assert_eq!(reply, TxnReply { revision: 1, succeeded: true, responses: vec![] });
    let reply = client.txn(unconditional([Op::Delete(delete_key(b"missing"))]));
    assert_eq!(reply.revision, 1);
}

#[quorate_test::test(native, wasm, cluster)]
fn what_is_wrong_in_either_branch_is_refused_before_the_first_write(t: &mut Machine<Store>) {
    let mut client = Client(t);
    let good = || ops([Op::Put(put(b"good", b""))]);
    let mut refused = |failure: Vec<TxnOp>| {
        // The comparison holds, so the failure branch would not even run.
        let request = TxnRequest { compare: vec![], success: good(), failure };
        let result = client.0.txn(request);
        invalid(result)
    };
    let twice = ops([Op::Put(put(b"k", b"1")), Op::Put(put(b"k", b"2"))]);
    assert_eq!(refused(twice), "a Txn puts a key twice");
    assert_eq!(refused(ops([get(b"")])), "a key must not be empty");
    assert_eq!(refused(vec![TxnOp { op: None }]), "an operation of a Txn is not set");
    assert_eq!(
        refused(ops((0..129).map(|_| get(b"k")))),
        "a branch of a Txn has at most 128 operations, not 129"
    );
    refused(ops([Op::Delete(DeleteRequest::default())]));
    refused(ops([Op::Range(range(&[7; 5_000], b""))]));
    assert_eq!((client.revision(), client.get(b"good")), (0, None));
}

#[quorate_test::test(native, wasm, cluster)]
fn a_comparison_that_says_nothing_is_refused(t: &mut Machine<Store>) {
    let client = Client(t);
    let good = compare(b"k", CompareOp::Equal, CompareTarget::Version(0));
    let mut refused = |compare: Vec<Compare>| {
        let request = TxnRequest { compare, ..TxnRequest::default() };
        let result = client.0.txn(request);
        invalid(result)
    };
    assert_eq!(refused(vec![Compare { target: None, ..good.clone() }]), "a Compare needs a target");
    assert_eq!(refused(vec![Compare { op: 9, ..good.clone() }]), "a Compare has an unknown op");
    assert_eq!(refused(vec![Compare { key: vec![], ..good.clone() }]), "a key must not be empty");
    refused(vec![good; 129]);
}

#[quorate_test::test(native, wasm, cluster)]
fn a_full_transaction_is_served(t: &mut Machine<Store>) {
    let mut client = Client(t);
    let list: Vec<_> = (0..128).map(|key| Op::Put(put(&[key], b""))).collect();
    let reply = client.txn(unconditional(list));
    assert_eq!((reply.revision, reply.responses.len()), (1, 128));
}
