//! The store as its clients know it: each test is a story of requests and replies.

mod basics;
mod ranges;
mod txns;

use kv::{
    DeleteReply, DeleteRequest, GetRequest, KeyRange, KeyValue, Kv as _, PutReply, PutRequest,
    RangeReply, RangeRequest, Store, TxnReply, TxnRequest, delete_request::Target,
};
use quorate_sdk::testing::Machine;
use quorate_sdk::{Code, Status};

/// A store and the requests to it, in few words.
struct Client(Machine<Store>);

impl Client {
    fn new() -> Self {
        Self(Machine::new())
    }

    /// A store with these keys, each with its own name as value.
    fn with(keys: &[&[u8]]) -> Self {
        let mut client = Self::new();
        for key in keys {
            client.put(key, key);
        }
        client
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> PutReply {
        let request = put(key, value);
        self.0.command(|cx| Store::put(cx, request)).expect("a Put")
    }

    fn put_prev(&mut self, key: &[u8], value: &[u8]) -> PutReply {
        let request = PutRequest { prev_kv: true, ..put(key, value) };
        self.0.command(|cx| Store::put(cx, request)).expect("a Put")
    }

    fn get(&self, key: &[u8]) -> Option<KeyValue> {
        let request = GetRequest { key: key.to_vec() };
        self.0.query(|cx| Store::get(cx, request)).expect("a Get").kv
    }

    fn value(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.get(key).map(|kv| kv.value)
    }

    fn revision(&self) -> u64 {
        let request = GetRequest { key: b"any".to_vec() };
        self.0.query(|cx| Store::get(cx, request)).expect("a Get").revision
    }

    fn delete(&mut self, request: DeleteRequest) -> DeleteReply {
        self.0.command(|cx| Store::delete(cx, request)).expect("a Delete")
    }

    fn range(&self, request: RangeRequest) -> RangeReply {
        self.0.query(|cx| Store::range(cx, request)).expect("a Range")
    }

    fn txn(&mut self, request: TxnRequest) -> TxnReply {
        self.0.command(|cx| Store::txn(cx, request)).expect("a Txn")
    }
}

fn put(key: &[u8], value: &[u8]) -> PutRequest {
    PutRequest { key: key.to_vec(), value: value.to_vec(), prev_kv: false }
}

fn delete_key(key: &[u8]) -> DeleteRequest {
    DeleteRequest { target: Some(Target::Key(key.to_vec())), prev_kv: false }
}

fn delete_range(start: &[u8], end: &[u8]) -> DeleteRequest {
    let range = KeyRange { start: start.to_vec(), end: end.to_vec() };
    DeleteRequest { target: Some(Target::Range(range)), prev_kv: false }
}

fn range(start: &[u8], end: &[u8]) -> RangeRequest {
    RangeRequest { start: start.to_vec(), end: end.to_vec(), ..RangeRequest::default() }
}

fn keys(kvs: &[KeyValue]) -> Vec<&[u8]> {
    kvs.iter().map(|kv| kv.key.as_slice()).collect()
}

/// Fails unless the call was refused as an invalid argument; gives the message.
fn invalid<T>(result: Result<T, Status>) -> String {
    let status = result.err().expect("the call should be refused");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    status.message().to_owned()
}
