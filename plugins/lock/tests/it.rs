//! The locks as their clients know them.

use lock::{
    AcquireReply, AcquireRequest, GetRequest, LockCalls, Locks, ReleaseRequest, RenewRequest,
};
use quorate_sdk::testing::Machine;
use quorate_sdk::{Code, Status};

const LEASE_MS: u64 = 1000;

fn acquire(t: &mut impl LockCalls, owner: &str) -> Result<u64, Status> {
    acquire_named(t, "a", owner).map(|reply| reply.token)
}

fn acquire_named(t: &mut impl LockCalls, name: &str, owner: &str) -> Result<AcquireReply, Status> {
    t.acquire(AcquireRequest { name: name.into(), owner: owner.into(), lease_ms: LEASE_MS })
}

fn renew(t: &mut impl LockCalls, token: u64) -> Result<u64, Status> {
    let request = RenewRequest { name: "a".into(), token, lease_ms: LEASE_MS };
    t.renew(request).map(|reply| reply.until_ms)
}

fn release(t: &mut impl LockCalls, token: u64) -> bool {
    let request = ReleaseRequest { name: "a".into(), token };
    t.release(request).expect("never refused").released
}

fn owner(t: &mut impl LockCalls) -> Option<String> {
    let reply = t.get(GetRequest { name: "a".into() }).expect("never refused");
    reply.holder.map(|holder| holder.owner)
}

fn pass(t: &mut Machine<Locks>, ms: u64) {
    t.set_time_ms(t.time_ms() + ms);
}

#[test]
fn one_holds_it_at_a_time() {
    let mut t = Machine::<Locks>::new();
    assert_eq!(owner(&mut t), None);
    let token = acquire(&mut t, "one").unwrap();
    let refused = acquire(&mut t, "two").unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().starts_with("one holds a until "), "{refused}");
    assert_eq!(owner(&mut t).as_deref(), Some("one"));

    assert!(!release(&mut t, token + 1), "only with its token");
    assert!(release(&mut t, token));
    assert!(!release(&mut t, token), "once");
    assert!(acquire(&mut t, "two").unwrap() > token);
}

#[test]
fn whoever_holds_it_may_hold_on() {
    let mut t = Machine::<Locks>::new();
    let token = acquire(&mut t, "one").unwrap();
    pass(&mut t, LEASE_MS / 2);
    assert_eq!(renew(&mut t, token), Ok(t.time_ms() + LEASE_MS));
    assert_eq!(renew(&mut t, token + 1).unwrap_err().code(), Code::FailedPrecondition);
    pass(&mut t, LEASE_MS / 2);
    assert_eq!(owner(&mut t).as_deref(), Some("one"), "for longer than it first asked");
    assert_eq!(acquire(&mut t, "one"), Ok(token), "as does a call that is sent again");
    pass(&mut t, LEASE_MS - 1);
    assert_eq!(owner(&mut t).as_deref(), Some("one"));
}

#[test]
fn it_is_free_when_the_lease_ends() {
    let mut t = Machine::<Locks>::new();
    let late = acquire(&mut t, "one").unwrap();
    pass(&mut t, LEASE_MS);
    assert_eq!(owner(&mut t), None);
    assert_eq!(renew(&mut t, late).unwrap_err().code(), Code::FailedPrecondition);
    let token = acquire(&mut t, "two").unwrap();
    assert!(token > late, "what the lock protects can tell them apart");
    assert!(!release(&mut t, late));
    assert_eq!(owner(&mut t).as_deref(), Some("two"));
}

#[test]
fn tokens_grow_whichever_the_lock() {
    let mut t = Machine::<Locks>::new();
    let mut last = 0;
    for name in ["a", "b", "c"] {
        let AcquireReply { token, .. } = acquire_named(&mut t, name, "one").unwrap();
        assert!(token > last);
        last = token;
    }
}

#[test]
fn what_is_out_of_bounds_is_refused() {
    let mut t = Machine::<Locks>::new();
    let long = "a".repeat(201);
    for (name, owner, lease_ms) in
        [("", "me", 1), ("a", "", 1), (&long, "me", 1), ("a", "me", 0), ("a", "me", u64::MAX)]
    {
        let request = AcquireRequest { name: name.into(), owner: owner.into(), lease_ms };
        let refused = t.acquire(request).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{name} {owner} {lease_ms}");
    }
}

#[test]
fn the_table_is_full_of_locks_that_are_held_and_no_others() {
    let mut t = Machine::<Locks>::new();
    let first = acquire_named(&mut t, "0", "me").unwrap().token;
    for name in 1..10_000 {
        acquire_named(&mut t, &name.to_string(), "me").unwrap();
    }
    let refused = acquire_named(&mut t, "more", "me").unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    acquire_named(&mut t, "7", "me").unwrap();

    pass(&mut t, LEASE_MS);
    let more = acquire_named(&mut t, "more", "me").unwrap().token;
    assert!(more > first);
    assert!(acquire_named(&mut t, "0", "me").unwrap().token > more, "also after it was forgotten");
}
