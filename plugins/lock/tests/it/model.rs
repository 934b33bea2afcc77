//! The locks beside a reference: random calls are made of both, and must be answered alike.

use std::collections::{BTreeMap, BTreeSet};

use lock::{
    AcquireReply, AcquireRequest, GetReply, GetRequest, Holder, LockCall, LockCalls, Locks,
    ReleaseReply, ReleaseRequest, RenewReply, RenewRequest,
};
use quorate_sdk::Status;
use quorate_test::proptest::prelude::Strategy;
use quorate_test::proptest::prop_oneof;
use quorate_test::{Machine, Model};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// What the locks do, in a map.
#[derive(Default)]
struct Reference {
    now_ms: u64,
    token: u64,
    holders: BTreeMap<String, Holder>,
}

impl Reference {
    fn holder(&mut self, name: &str) -> Option<&mut Holder> {
        self.holders.get_mut(name).filter(|holder| holder.until_ms > self.now_ms)
    }

    fn held_with(&mut self, name: &str, token: u64) -> Option<&mut Holder> {
        self.holder(name).filter(|holder| holder.token == token)
    }
}

impl LockCalls for Reference {
    fn acquire(&mut self, request: AcquireRequest) -> Result<AcquireReply, Status> {
        let AcquireRequest { name, owner, lease_ms } = request;
        let until_ms = self.now_ms + lease_ms;
        let token = match self.holder(&name) {
            Some(holder) if holder.owner != owner => return Err(Status::failed_precondition("")),
            Some(holder) => holder.token,
            None => self.token + 1,
        };
        self.token = self.token.max(token);
        self.holders.insert(name, Holder { owner, token, until_ms });
        Ok(AcquireReply { token, until_ms })
    }

    fn renew(&mut self, request: RenewRequest) -> Result<RenewReply, Status> {
        let until_ms = self.now_ms + request.lease_ms;
        let holder = self.held_with(&request.name, request.token);
        holder.ok_or_else(|| Status::failed_precondition(""))?.until_ms = until_ms;
        Ok(RenewReply { until_ms })
    }

    fn release(&mut self, request: ReleaseRequest) -> Result<ReleaseReply, Status> {
        let released = self.held_with(&request.name, request.token).is_some();
        if released {
            self.holders.remove(&request.name);
        }
        Ok(ReleaseReply { released })
    }

    fn get(&mut self, request: GetRequest) -> Result<GetReply, Status> {
        Ok(GetReply { holder: self.holder(&request.name).cloned() })
    }
}

#[quorate_test::model(native, wasm, cluster)]
impl Model for Reference {
    type Plugin = Locks;
    type Call = LockCall;

    fn calls() -> impl Strategy<Value = LockCall> {
        let name = || "[a-c]";
        let token = || 1..10_u64;
        let lease_ms = || 1..100_u64;
        prop_oneof![
            4 => (name(), "[x-z]", lease_ms()).prop_map(|(name, owner, lease_ms)| {
                LockCall::Acquire(AcquireRequest { name, owner, lease_ms })
            }),
            2 => (name(), token(), lease_ms()).prop_map(|(name, token, lease_ms)| {
                LockCall::Renew(RenewRequest { name, token, lease_ms })
            }),
            2 => (name(), token()).prop_map(|(name, token)| {
                LockCall::Release(ReleaseRequest { name, token })
            }),
            1 => name().prop_map(|name| LockCall::Get(GetRequest { name })),
        ]
    }

    fn at(&mut self, time_ms: u64) {
        self.now_ms = time_ms;
    }

    fn check(&self, machine: &mut Machine<Locks>) {
        super::tick(machine);
        let mut tokens = BTreeSet::new();
        for name in NAMES {
            let reply = machine.get(GetRequest { name: name.into() }).expect("never refused");
            if let Some(Holder { token, .. }) = reply.holder {
                assert!(token <= self.token, "a token that nobody was given");
                assert!(tokens.insert(token), "two locks are held with one token");
            }
        }
    }
}
