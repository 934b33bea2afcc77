//! The store as its clients know it: each test is a story of requests and replies. It runs on the
//! plugin as a library, on its module, and on a cluster of three nodes where things go wrong.

mod basics;
mod model;
mod ranges;
mod txns;

use kv::{
    DeleteReply, DeleteRequest, GetRequest, KeyRange, KeyValue, KvCalls as _, PutReply, PutRequest,
    RangeReply, RangeRequest, Store, TxnReply, TxnRequest, delete_request::Target,
};
use quorate_sdk::{Code, Status};
use quorate_test::Machine;

/// A store and the requests to it, in few words.
struct Client<'t>(&'t mut Machine<Store>);

impl<'t> Client<'t> {
    /// A store with these keys, each with its own name as value.
    fn with(t: &'t mut Machine<Store>, keys: &[&[u8]]) -> Self {
        let mut client = Self(t);
        for key in keys {
            client.put(key, key);
        }
        client
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> PutReply {
        let request = put(key, value);
        self.0.put(request).expect("a Put")
    }

    fn put_prev(&mut self, key: &[u8], value: &[u8]) -> PutReply {
        let request = PutRequest { prev_kv: true, ..put(key, value) };
        self.0.put(request).expect("a Put")
    }

    fn get(&mut self, key: &[u8]) -> Option<KeyValue> {
        let request = GetRequest { key: key.to_vec() };
        self.0.get(request).expect("a Get").kv
    }

    fn value(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.get(key).map(|kv| kv.value)
    }

    fn revision(&mut self) -> u64 {
        let request = GetRequest { key: b"any".to_vec() };
        self.0.get(request).expect("a Get").revision
    }

    fn delete(&mut self, request: DeleteRequest) -> DeleteReply {
        self.0.delete(request).expect("a Delete")
    }

    fn range(&mut self, request: RangeRequest) -> RangeReply {
        self.0.range(request).expect("a Range")
    }

    fn txn(&mut self, request: TxnRequest) -> TxnReply {
        self.0.txn(request).expect("a Txn")
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
