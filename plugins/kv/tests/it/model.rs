//! The store beside a reference: random calls are made of both, and must be answered alike.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use kv::compare::{Op as CompareOp, Target as CompareTarget};
use kv::delete_request::Target;
use kv::txn_op::Op;
use kv::txn_op_reply::Reply;
use kv::{
    Compare, DeleteReply, DeleteRequest, GetReply, GetRequest, KeyRange, KeyValue, KvCall, KvCalls,
    PutReply, PutRequest, RangeReply, RangeRequest, Store, TxnOp, TxnOpReply, TxnReply, TxnRequest,
};
use quorate_sdk::Status;
use quorate_test::proptest::collection::vec;
use quorate_test::proptest::prelude::{Just, Strategy, any};
use quorate_test::proptest::prop_oneof;
use quorate_test::{Machine, Model};

/// What the store does, in a map. Its functions write the revision that is next; a call is over
/// when it is settled whether that is the store's.
#[derive(Default)]
struct Reference {
    revision: u64,
    changed: bool,
    pairs: BTreeMap<Vec<u8>, KeyValue>,
}

impl Reference {
    fn settle(&mut self) -> u64 {
        self.revision += u64::from(std::mem::take(&mut self.changed));
        self.revision
    }

    fn find(&self, start: &[u8], end: &[u8]) -> Vec<KeyValue> {
        let above = self.pairs.range::<[u8], _>((Bound::Included(start), Bound::Unbounded));
        let pairs = above.map(|(_, kv)| kv.clone());
        pairs.take_while(|kv| end.is_empty() || kv.key.as_slice() < end).collect()
    }

    fn do_put(&mut self, PutRequest { key, value, prev_kv }: PutRequest) -> PutReply {
        let mod_revision = self.revision + 1;
        let prev = self.pairs.get(&key).cloned();
        let (create_revision, version) =
            prev.as_ref().map_or((mod_revision, 1), |kv| (kv.create_revision, kv.version + 1));
        let kv = KeyValue { key: key.clone(), value, create_revision, mod_revision, version };
        self.pairs.insert(key, kv);
        self.changed = true;
        PutReply { revision: 0, prev_kv: prev.filter(|_| prev_kv) }
    }

    fn do_delete(&mut self, DeleteRequest { target, prev_kv }: DeleteRequest) -> DeleteReply {
        let prev_kvs = match target.expect("it is set") {
            Target::Key(key) => self.pairs.get(&key).cloned().into_iter().collect(),
            Target::Range(KeyRange { start, end }) => self.find(&start, &end),
        };
        self.pairs.retain(|_, kv| !prev_kvs.contains(kv));
        let deleted = prev_kvs.len() as u64;
        self.changed |= deleted > 0;
        DeleteReply { revision: 0, deleted, prev_kvs: if prev_kv { prev_kvs } else { vec![] } }
    }

    fn do_range(&self, request: &RangeRequest) -> RangeReply {
        let mut kvs = self.find(&request.start, &request.end);
        if request.count_only {
            return RangeReply { count: kvs.len() as u64, ..RangeReply::default() };
        }
        if request.reverse {
            kvs.reverse();
        }
        let limit = if request.limit == 0 { kvs.len() } else { request.limit as usize };
        let more = kvs.len() > limit;
        kvs.truncate(limit);
        if request.keys_only {
            for kv in &mut kvs {
                kv.value.clear();
            }
        }
        RangeReply { revision: 0, count: kvs.len() as u64, more, kvs }
    }

    fn holds(&self, Compare { key, op, target }: &Compare) -> bool {
        let nothing = KeyValue::default();
        let kv = self.pairs.get(key).unwrap_or(&nothing);
        let ordering = match target.as_ref().expect("it is set") {
            CompareTarget::Version(version) => kv.version.cmp(version),
            CompareTarget::CreateRevision(revision) => kv.create_revision.cmp(revision),
            CompareTarget::ModRevision(revision) => kv.mod_revision.cmp(revision),
            CompareTarget::Value(value) if kv.version > 0 => kv.value.cmp(value),
            CompareTarget::Value(_) => return false,
        };
        match CompareOp::try_from(*op).expect("it is known") {
            CompareOp::Equal => ordering.is_eq(),
            CompareOp::NotEqual => ordering.is_ne(),
            CompareOp::Greater => ordering.is_gt(),
            CompareOp::Less => ordering.is_lt(),
        }
    }

    fn do_op(&mut self, op: Op) -> Reply {
        match op {
            Op::Put(request) => Reply::Put(self.do_put(request)),
            Op::Delete(request) => Reply::Delete(self.do_delete(request)),
            Op::Range(request) => Reply::Range(self.do_range(&request)),
            Op::Get(GetRequest { key }) => {
                Reply::Get(GetReply { revision: 0, kv: self.pairs.get(&key).cloned() })
            }
        }
    }
}

impl KvCalls for Reference {
    fn put(&mut self, request: PutRequest) -> Result<PutReply, Status> {
        let reply = self.do_put(request);
        Ok(PutReply { revision: self.settle(), ..reply })
    }

    fn get(&mut self, request: GetRequest) -> Result<GetReply, Status> {
        let kv = self.pairs.get(&request.key).cloned();
        Ok(GetReply { revision: self.revision, kv })
    }

    fn delete(&mut self, request: DeleteRequest) -> Result<DeleteReply, Status> {
        let reply = self.do_delete(request);
        Ok(DeleteReply { revision: self.settle(), ..reply })
    }

    fn range(&mut self, request: RangeRequest) -> Result<RangeReply, Status> {
        Ok(RangeReply { revision: self.revision, ..self.do_range(&request) })
    }

    fn txn(&mut self, request: TxnRequest) -> Result<TxnReply, Status> {
        if puts_a_key_twice(&request.success) || puts_a_key_twice(&request.failure) {
            return Err(Status::invalid_argument("whichever of them would run"));
        }
        let succeeded = request.compare.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { request.success } else { request.failure };
        let ops = ops.into_iter().filter_map(|op| op.op);
        let mut replies: Vec<_> = ops.map(|op| self.do_op(op)).collect();
        let revision = self.settle();
        for reply in &mut replies {
            match reply {
                Reply::Put(reply) => reply.revision = revision,
                Reply::Delete(reply) => reply.revision = revision,
                Reply::Range(reply) => reply.revision = revision,
                Reply::Get(reply) => reply.revision = revision,
            }
        }
        let responses = replies.into_iter().map(|reply| TxnOpReply { reply: Some(reply) });
        Ok(TxnReply { revision, succeeded, responses: responses.collect() })
    }
}

fn puts_a_key_twice(ops: &[TxnOp]) -> bool {
    let mut keys = BTreeSet::new();
    ops.iter().any(|op| matches!(&op.op, Some(Op::Put(put)) if !keys.insert(&put.key)))
}

/// Few keys, so that calls meet; and some that begin like others.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof!["[a-c]", "[ab]\x00"].prop_map(String::into_bytes)
}

/// An end of a range.
fn end() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![3 => key(), 1 => Just(Vec::new())]
}

fn put() -> impl Strategy<Value = PutRequest> {
    (key(), "[xyz]", any::<bool>()).prop_map(|(key, value, prev_kv)| PutRequest {
        key,
        value: value.into(),
        prev_kv,
    })
}

fn delete() -> impl Strategy<Value = DeleteRequest> {
    let range = (end(), end()).prop_map(|(start, end)| Target::Range(KeyRange { start, end }));
    let target = prop_oneof![3 => key().prop_map(Target::Key), 1 => range];
    (target, any::<bool>())
        .prop_map(|(target, prev_kv)| DeleteRequest { target: Some(target), prev_kv })
}

fn range() -> impl Strategy<Value = RangeRequest> {
    (end(), end(), 0..4_u32, any::<[bool; 3]>()).prop_map(|(start, end, limit, flags)| {
        let [reverse, keys_only, count_only] = flags;
        RangeRequest { start, end, limit, reverse, keys_only, count_only }
    })
}

fn get() -> impl Strategy<Value = GetRequest> {
    key().prop_map(|key| GetRequest { key })
}

fn txn() -> impl Strategy<Value = TxnRequest> {
    let target = prop_oneof![
        (0..3_u64).prop_map(CompareTarget::Version),
        (0..9_u64).prop_map(CompareTarget::CreateRevision),
        (0..9_u64).prop_map(CompareTarget::ModRevision),
        "[xyz]".prop_map(|value| CompareTarget::Value(value.into())),
    ];
    let compare = (key(), 0..4, target).prop_map(|(key, op, target)| Compare {
        key,
        op,
        target: Some(target),
    });
    let op = || {
        let op = prop_oneof![
            3 => put().prop_map(Op::Put),
            2 => delete().prop_map(Op::Delete),
            1 => range().prop_map(Op::Range),
            1 => get().prop_map(Op::Get),
        ];
        op.prop_map(|op| TxnOp { op: Some(op) })
    };
    (vec(compare, 0..3), vec(op(), 0..4), vec(op(), 0..4))
        .prop_map(|(compare, success, failure)| TxnRequest { compare, success, failure })
}

#[quorate_test::model(native, wasm, cluster)]
impl Model for Reference {
    type Plugin = Store;
    type Call = KvCall;

    fn calls() -> impl Strategy<Value = KvCall> {
        prop_oneof![
            4 => put().prop_map(KvCall::Put),
            2 => delete().prop_map(KvCall::Delete),
            1 => get().prop_map(KvCall::Get),
            2 => range().prop_map(KvCall::Range),
            3 => txn().prop_map(KvCall::Txn),
        ]
    }

    fn check(&self, machine: &mut Machine<Store>) {
        let all = machine.range(RangeRequest::default()).expect("never refused");
        assert!(all.kvs.iter().eq(self.pairs.values()), "what was put is there, and nothing else");
        assert_eq!(all.revision, self.revision);
    }
}
