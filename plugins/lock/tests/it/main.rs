//! The locks as their clients know them: each test is a story of calls. It runs on the plugin as a
//! library, on its module, and on a cluster of three nodes where things go wrong.

mod model;

use std::time::Duration;

use lock::{
    AcquireReply, AcquireRequest, GetRequest, LockCalls, Locks, ReleaseRequest, RenewRequest,
};
use quorate_sdk::{Code, Status};
use quorate_test::Machine;

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

/// How a call was refused, if it was.
fn code<T>(result: Result<T, Status>) -> Option<Code> {
    result.err().map(|status| status.code())
}

fn pass(t: &mut Machine<Locks>, ms: u64) {
    t.advance(Duration::from_millis(ms));
    tick(t);
}

/// A query sees the time of the last command. This one does nothing but bring it up to date.
fn tick(t: &mut Machine<Locks>) {
    t.release(ReleaseRequest::default()).expect("never refused");
}

#[quorate_test::test(native, wasm, cluster)]
fn one_holds_it_at_a_time(t: &mut Machine<Locks>) -> Result<(), Status> {
    assert_eq!(owner(t), None);
    let token = acquire(t, "one")?;
    let refused = acquire(t, "two").expect_err("it is held");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().starts_with("one holds a until "), "{refused}");
    assert_eq!(owner(t).as_deref(), Some("one"));

    assert!(!release(t, token + 1), "only with its token");
    assert!(release(t, token));
    assert!(!release(t, token), "once");
    assert!(acquire(t, "two")? > token);
    Ok(())
}

#[quorate_test::test(native, wasm, cluster)]
fn whoever_holds_it_may_hold_on(t: &mut Machine<Locks>) -> Result<(), Status> {
    let token = acquire(t, "one")?;
    pass(t, LEASE_MS / 2);
    assert_eq!(renew(t, token), Ok(t.time_ms() + LEASE_MS));
    assert_eq!(code(renew(t, token + 1)), Some(Code::FailedPrecondition));
    pass(t, LEASE_MS / 2);
    assert_eq!(owner(t).as_deref(), Some("one"), "for longer than it first asked");
    assert_eq!(acquire(t, "one"), Ok(token), "as does a call that is sent again");
    pass(t, LEASE_MS - 1);
    assert_eq!(owner(t).as_deref(), Some("one"));
    Ok(())
}

#[quorate_test::test(native, wasm, cluster)]
fn it_is_free_when_the_lease_ends(t: &mut Machine<Locks>) -> Result<(), Status> {
    let late = acquire(t, "one")?;
    pass(t, LEASE_MS);
    assert_eq!(owner(t), None);
    assert_eq!(code(renew(t, late)), Some(Code::FailedPrecondition));
    let token = acquire(t, "two")?;
    assert!(token > late, "what the lock protects can tell them apart");
    assert!(!release(t, late));
    assert_eq!(owner(t).as_deref(), Some("two"));
    Ok(())
}

#[quorate_test::test(native, wasm, cluster)]
fn tokens_grow_whichever_the_lock(t: &mut Machine<Locks>) -> Result<(), Status> {
    let mut last = 0;
    for name in ["a", "b", "c"] {
        let AcquireReply { token, .. } = acquire_named(t, name, "one")?;
        assert!(token > last);
        last = token;
    }
    Ok(())
}

#[quorate_test::test(native, wasm, cluster)]
fn what_is_out_of_bounds_is_refused(t: &mut Machine<Locks>) {
    let long = "a".repeat(201);
    for (name, owner, lease_ms) in
        [("", "me", 1), ("a", "", 1), (&long, "me", 1), ("a", "me", 0), ("a", "me", u64::MAX)]
    {
        let request = AcquireRequest { name: name.into(), owner: owner.into(), lease_ms };
        let refused = code(t.acquire(request));
        assert_eq!(refused, Some(Code::InvalidArgument), "{name} {owner} {lease_ms}");
    }
}

#[quorate_test::test(native)]
fn the_table_is_full_of_locks_that_are_held_and_no_others(
    t: &mut Machine<Locks>,
) -> Result<(), Status> {
    let first = acquire_named(t, "0", "me")?.token;
    for name in 1..10_000 {
        acquire_named(t, &name.to_string(), "me")?;
    }
    assert_eq!(code(acquire_named(t, "more", "me")), Some(Code::ResourceExhausted));
    acquire_named(t, "7", "me")?;

    pass(t, LEASE_MS);
    let more = acquire_named(t, "more", "me")?.token;
    assert!(more > first);
    assert!(acquire_named(t, "0", "me")?.token > more, "also after it was forgotten");
    Ok(())
}
