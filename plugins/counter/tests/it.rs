//! The counters as their clients know them. Each test runs three times: on the plugin as a library,
//! on its module, and on a cluster of three nodes where things go wrong.

use std::collections::BTreeMap;

use counter::{
    AddReply, AddRequest, CounterCall, CounterCalls, Counters, GetReply, GetRequest, ResetReply,
    ResetRequest,
};
use quorate_sdk::{Code, Status};
use quorate_test::proptest::prelude::Strategy;
use quorate_test::proptest::prop_oneof;
use quorate_test::{Machine, Model};

fn add(t: &mut impl CounterCalls, name: &str, by: u64) -> Result<u64, Status> {
    Ok(t.add(AddRequest { name: name.into(), by })?.total)
}

fn get(t: &mut impl CounterCalls, name: &str) -> u64 {
    t.get(GetRequest { name: name.into() }).expect("any name can be read").total
}

#[quorate_test::test(native, wasm, cluster)]
fn counters_count_on_their_own(t: &mut Machine<Counters>) -> Result<(), Status> {
    assert_eq!(add(t, "a", 2)?, 2);
    assert_eq!(add(t, "a", 3)?, 5);
    assert_eq!(add(t, "b", 1)?, 1);
    t.restart();
    assert_eq!(["a", "b", "c"].map(|name| get(t, name)), [5, 1, 0]);

    assert_eq!(t.reset(ResetRequest { name: "a".into() })?.total, 5);
    assert_eq!(["a", "b", "c"].map(|name| get(t, name)), [0, 1, 0]);
    Ok(())
}

#[quorate_test::test(native, wasm, cluster)]
fn what_cannot_be_added_is_refused(t: &mut Machine<Counters>) -> Result<(), Status> {
    for name in ["", &"a".repeat(201)] {
        assert_eq!(add(t, name, 1).map_err(|status| status.code()), Err(Code::InvalidArgument));
    }
    assert_eq!(add(t, "a", u64::MAX)?, u64::MAX);
    assert_eq!(add(t, "a", 1).map_err(|status| status.code()), Err(Code::OutOfRange));
    assert_eq!(get(t, "a"), u64::MAX);
    Ok(())
}

/// What the counters do, in a map. Random calls are made of both, and must be answered alike.
#[derive(Default)]
struct Reference(BTreeMap<String, u64>);

impl CounterCalls for Reference {
    fn add(&mut self, AddRequest { name, by }: AddRequest) -> Result<AddReply, Status> {
        let total = self.0.entry(name).or_default();
        *total = total.checked_add(by).ok_or_else(|| Status::out_of_range("too much"))?;
        Ok(AddReply { total: *total })
    }

    fn get(&mut self, GetRequest { name }: GetRequest) -> Result<GetReply, Status> {
        Ok(GetReply { total: self.0.get(&name).copied().unwrap_or(0) })
    }

    fn reset(&mut self, ResetRequest { name }: ResetRequest) -> Result<ResetReply, Status> {
        Ok(ResetReply { total: self.0.remove(&name).unwrap_or(0) })
    }
}

#[quorate_test::model(native, wasm, cluster)]
impl Model for Reference {
    type Plugin = Counters;
    type Call = CounterCall;

    fn calls() -> impl Strategy<Value = CounterCall> {
        // Few names, so that calls meet; and now and then more than there is room for.
        let name = || "[a-c]";
        let by = prop_oneof![9 => 0..10_u64, 1 => u64::MAX - 10..=u64::MAX];
        prop_oneof![
            6 => (name(), by).prop_map(|(name, by)| CounterCall::Add(AddRequest { name, by })),
            3 => name().prop_map(|name| CounterCall::Get(GetRequest { name })),
            1 => name().prop_map(|name| CounterCall::Reset(ResetRequest { name })),
        ]
    }

    fn check(&self, machine: &mut Machine<Counters>) {
        for (name, total) in &self.0 {
            assert_eq!(get(machine, name), *total, "no call changes another one's counter");
        }
    }
}
