//! The locks as their clients know them; neither a host nor Wasm is needed.

use lock::{AcquireRequest, GetRequest, Lock as _, Locks, ReleaseRequest};
use quorate_sdk::testing::Machine;
use quorate_sdk::{Code, Status};

const TTL_MS: u64 = 1000;

fn acquire(machine: &mut Machine<Locks>, owner: &str) -> Result<u64, Status> {
    let request = AcquireRequest { name: "a".into(), owner: owner.into(), ttl_ms: TTL_MS };
    machine.command(|cx| Locks::acquire(cx, request)).map(|reply| reply.token)
}

fn release(machine: &mut Machine<Locks>, token: u64) -> bool {
    let request = ReleaseRequest { name: "a".into(), token };
    machine.command(|cx| Locks::release(cx, request)).expect("never refused").released
}

fn owner(machine: &Machine<Locks>) -> Option<String> {
    let reply = machine.query(|cx| Locks::get(cx, GetRequest { name: "a".into() }));
    reply.expect("never refused").holder.map(|holder| holder.owner)
}

#[test]
fn one_holds_it_at_a_time() {
    let mut machine = Machine::new();
    assert_eq!(owner(&machine), None);
    let token = acquire(&mut machine, "one").unwrap();
    let refused = acquire(&mut machine, "two").unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().starts_with("one holds a until "), "{refused}");
    assert_eq!(owner(&machine).as_deref(), Some("one"));

    assert!(!release(&mut machine, token + 1), "only with its token");
    assert!(release(&mut machine, token));
    assert!(!release(&mut machine, token), "once");
    assert!(acquire(&mut machine, "two").unwrap() > token);
}

#[test]
fn whoever_holds_it_may_hold_on() {
    let mut machine = Machine::new();
    let token = acquire(&mut machine, "one").unwrap();
    machine.set_time_ms(machine.time_ms() + TTL_MS / 2);
    assert_eq!(acquire(&mut machine, "one"), Ok(token), "as does a call that is sent again");
    machine.set_time_ms(machine.time_ms() + TTL_MS / 2);
    assert_eq!(owner(&machine).as_deref(), Some("one"), "for longer than it first asked");
}

#[test]
fn it_is_free_when_its_time_is_up() {
    let mut machine = Machine::new();
    let late = acquire(&mut machine, "one").unwrap();
    machine.set_time_ms(machine.time_ms() + TTL_MS);
    assert_eq!(owner(&machine), None);
    let token = acquire(&mut machine, "two").unwrap();
    assert!(token > late, "what the lock protects can tell them apart");
    assert!(!release(&mut machine, late));
    assert_eq!(owner(&machine).as_deref(), Some("two"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut machine = Machine::<Locks>::new();
    for (name, owner, ttl_ms) in
        [("", "me", 1), ("a", "", 1), ("a", "me", 0), ("a", "me", u64::MAX)]
    {
        let request = AcquireRequest { name: name.into(), owner: owner.into(), ttl_ms };
        let refused = machine.command(|cx| Locks::acquire(cx, request)).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{name} {owner} {ttl_ms}");
    }
}
