//! How a call by path finds its method, and what happens when it does not.

use quorate_sdk::testing::Machine;
use quorate_sdk::{Code, Counter, Method, Plugin, info};

const TOTAL: Counter = Counter::new("total");

/// What the build step and `plugin!` would have made.
struct Totals;

impl Plugin for Totals {
    const SERVICES: &'static [&'static [Method]] = &[&[
        Method::command("t.v1.Totals/Add", |cx, request| {
            let by = Method::request::<u64>(request, "t.v1.AddRequest")?;
            info!("adding {by}");
            Ok(Method::reply(&TOTAL.add(cx, by)))
        }),
        Method::query("t.v1.Totals/Get", |cx, _| Ok(Method::reply(&TOTAL.get(cx)))),
        Method::query("t.v1.Totals/Flood", |_, _| Ok(vec![0; 5 * 1024 * 1024])),
    ]];
}

#[test]
fn a_call_finds_its_method() {
    let mut machine = Machine::<Totals>::new();
    let two = Method::reply(&2_u64);
    assert_eq!(machine.call("t.v1.Totals/Add", &two).as_deref(), Ok(two.as_slice()));
    assert_eq!(machine.call_query("t.v1.Totals/Get", &[]), Ok(two));
}

#[test]
fn a_call_that_cannot_be_served_is_refused() {
    let mut machine = Machine::<Totals>::new();

    let refused = machine.call("t.v1.Totals/Add", &[0xff]).unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("request is not a valid t.v1.AddRequest: "), "{refused}");

    let refused = machine.call("t.v1.Totals/Sub", &[]).unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    let refused = machine.call("t.v1.Totals/Get", &[]).unwrap_err();
    assert_eq!(refused.code(), Code::Internal);
    let refused = machine.call_query("t.v1.Totals/Add", &[]).unwrap_err();
    assert_eq!(refused.code(), Code::Internal);
    let refused = machine.call_query("t.v1.Totals/Flood", &[]).unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
}
