//! Put, Get and Delete, and how they move revisions.

use super::*;

#[quorate_test::test(native, wasm, cluster)]
fn a_key_is_put_read_and_deleted(t: &mut Machine<Store>) {
    let mut client = Client(t);
    assert_eq!((client.revision(), client.get(b"k")), (0, None));

    assert_eq!(client.put(b"k", b"one"), PutReply { revision: 1, prev_kv: None });
    let one = KeyValue {
        key: b"k".to_vec(),
        value: b"one".to_vec(),
        create_revision: 1,
        mod_revision: 1,
        version: 1,
    };
    assert_eq!(client.get(b"k"), Some(one.clone()));

    let reply = client.put_prev(b"k", b"two");
    assert_eq!(reply, PutReply { revision: 2, prev_kv: Some(one.clone()) });
    let two = KeyValue { value: b"two".to_vec(), mod_revision: 2, version: 2, ..one };
    assert_eq!(client.get(b"k"), Some(two.clone()));

    let reply = client.delete(DeleteRequest { prev_kv: true, ..delete_key(b"k") });
    assert_eq!(reply, DeleteReply { revision: 3, deleted: 1, prev_kvs: vec![two] });
    assert_eq!(client.get(b"k"), None);
}

#[quorate_test::test(native, wasm, cluster)]
fn the_first_put_has_no_previous_pair(t: &mut Machine<Store>) {
    let mut client = Client(t);
    assert_eq!(client.put_prev(b"k", b"v").prev_kv, None);
}

#[quorate_test::test(native, wasm, cluster)]
fn a_key_that_comes_back_is_a_new_one(t: &mut Machine<Store>) {
    let mut client = Client(t);
    client.put(b"k", b"one");
    client.put(b"k", b"two");
    client.delete(delete_key(b"k"));
    client.put(b"k", b"three");
    let kv = client.get(b"k").expect("it is there");
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (4, 4, 1));
}

#[quorate_test::test(native, wasm, cluster)]
fn what_changes_nothing_does_not_raise_the_revision(t: &mut Machine<Store>) {
    let mut client = Client::with(t, &[b"a"]);
    assert_eq!(client.delete(delete_key(b"b")).revision, 1);
    assert_eq!(client.delete(delete_range(b"b", b"")).revision, 1);
    assert_eq!(client.revision(), 1);
    // The same value again is a change.
    assert_eq!(client.put(b"a", b"a").revision, 2);
}

#[quorate_test::test(native, wasm, cluster)]
fn a_range_is_deleted_with_one_revision(t: &mut Machine<Store>) {
    let mut client = Client::with(t, &[b"a", b"b", b"b\0", b"c", b"d"]);
    let request = DeleteRequest { prev_kv: true, ..delete_range(b"b", b"d") };
    let reply = client.delete(request);
    assert_eq!((reply.revision, reply.deleted), (6, 3));
    assert_eq!(keys(&reply.prev_kvs), [b"b".as_slice(), b"b\0", b"c"]);
    assert_eq!(keys(&client.range(range(b"", b"")).kvs), [b"a", b"d"]);

    assert_eq!(client.delete(delete_range(b"d", b"a")).deleted, 0, "inverted, so empty");
    let reply = client.delete(delete_range(b"", b""));
    assert_eq!((reply.deleted, reply.prev_kvs.len()), (2, 0));
    assert_eq!(client.revision(), 7, "deleting pairs leaves the revision alone");
}

#[quorate_test::test(native, wasm, cluster)]
fn any_bytes_are_a_key(t: &mut Machine<Store>) {
    let all: Vec<Vec<u8>> = vec![vec![0], vec![0, 0], vec![0, 0xff], vec![1], vec![0xff; 2]];
    let mut client = Client(t);
    for key in &all {
        client.put(key, &[]);
        assert_eq!(client.value(key), Some(vec![]), "an empty value is a value");
    }
    let found = client.range(range(b"", b"")).kvs;
    assert!(found.iter().map(|kv| &kv.key).eq(&all));
    assert_eq!(client.delete(delete_range(&[0], &[1])).deleted, 3);
    assert_eq!(client.delete(delete_range(&[0xff], &[])).deleted, 1);
}

#[quorate_test::test(native, wasm, cluster)]
fn what_is_out_of_bounds_is_refused(t: &mut Machine<Store>) {
    let mut client = Client(t);
    let mut refused = |request: PutRequest| {
        let result = client.0.put(request);
        invalid(result)
    };
    assert_eq!(refused(put(b"", b"v")), "a key must not be empty");
    let too_long = "a key has at most 4000 bytes, not 4001";
    assert_eq!(refused(put(&[7; 4_001], b"v")), too_long);
    let too_big = "a value has at most 1000000 bytes, not 1000001";
    assert_eq!(refused(put(b"k", &vec![7; 1_000_001])), too_big);

    invalid(client.0.get(GetRequest::default()));
    invalid(client.0.delete(DeleteRequest::default()));
    invalid(client.0.delete(delete_key(b"")));
    invalid(client.0.range(range(&[7; 4_002], b"")));
    assert_eq!(client.revision(), 0);
}

#[quorate_test::test(native)]
fn what_is_just_within_bounds_is_served(t: &mut Machine<Store>) {
    let mut client = Client(t);
    let (key, value) = (vec![0xff; 4_000], vec![7; 1_000_000]);
    client.put(&key, &value);
    assert_eq!(client.value(&key), Some(value));
    let next = [key.as_slice(), &[0]].concat();
    assert_eq!(client.range(range(&key, &next)).count, 1);
    assert_eq!(client.range(range(&next, b"")).count, 0);
    assert_eq!(client.delete(delete_range(&key, &next)).deleted, 1);
}

/// What other languages send: bytes, and a path.
#[test]
fn the_service_answers_under_its_path() {
    let mut machine = quorate_sdk::testing::Machine::<Store>::new();
    let request = [0x0a, 1, b'k', 0x12, 1, b'v'];
    assert_eq!(machine.call("kv.v1.Kv/Put", &request), Ok(vec![0x08, 1]), "revision 1");
    let reply = machine.call_query("kv.v1.Kv/Get", &request[..3]).expect("it is there");
    assert!(reply.starts_with(&[0x08, 1]), "{reply:?}");

    let message = invalid(machine.call("kv.v1.Kv/Put", &[0xff]));
    assert!(message.starts_with("request is not a valid kv.v1.PutRequest: "), "{message}");
    let status = machine.call("kv.v1.Kv/Get", &[]).expect_err("it is a query");
    assert_eq!(status.code(), Code::Internal, "a query does not go through the log");
}
