//! How often a call crosses to the host, and with how many bytes.

use quorate_sdk::testing::{Costs, Machine};
use quorate_sdk::{Command, Query, Status};

/// What a command costs that succeeds.
fn cost<T>(machine: &mut Machine<()>, command: impl FnOnce(&mut Command<'_>) -> T) -> Costs {
    machine.command(|cx| Ok(command(cx))).expect("it never refuses");
    machine.last_costs()
}

fn costs(host_calls: u64, read_bytes: u64, written_bytes: u64) -> Costs {
    Costs { host_calls, read_bytes, written_bytes }
}

#[test]
fn each_import_counts_with_its_bytes() {
    let mut machine = Machine::new();
    assert_eq!(cost(&mut machine, |cx| cx.put(b"key", b"value")), costs(1, 0, 8));
    assert_eq!(cost(&mut machine, |cx| cx.get(b"key")), costs(1, 8, 0));
    assert_eq!(cost(&mut machine, |cx| cx.get(b"other")), costs(1, 5, 0));
    assert_eq!(cost(&mut machine, |cx| cx.scan(b"k", b"l").count()), costs(1, 10, 0));
    assert_eq!(cost(&mut machine, |cx| cx.scan(b"l", b"k").count()), costs(0, 0, 0));
    assert_eq!(cost(&mut machine, |cx| cx.delete(b"key")), costs(1, 0, 3));
    assert_eq!(cost(&mut machine, |cx| cx.delete_range(b"a", b"b")), costs(1, 0, 2));
    assert_eq!(cost(&mut machine, |_| ()), Costs::default());
}

#[test]
fn a_long_value_is_asked_for_twice() {
    let mut machine = Machine::new();
    cost(&mut machine, |cx| cx.put(b"fits", &[0; 512]));
    cost(&mut machine, |cx| cx.put(b"long", &[0; 513]));
    assert_eq!(cost(&mut machine, |cx| cx.get(b"fits")), costs(1, 516, 0));
    assert_eq!(cost(&mut machine, |cx| cx.get(b"long")), costs(2, 2 * 517, 0));
}

/// The room for pages is 4 KiB at first, then 32 KiB.
#[test]
fn a_scan_crosses_once_for_each_page() {
    let mut machine = Machine::new();
    cost(&mut machine, |cx| {
        for key in 0..40 {
            cx.put(&[b'a', key], &[0; 990]);
        }
        cx.put(b"b", &[0; 5_000]);
    });
    let pairs = |pairs: u64| (pairs * 992) + 2;
    // With its lengths a pair takes 1,000 bytes: 4 fit, and the fifth is looked at.
    let limited = cost(&mut machine, |cx| cx.scan(b"a", b"b").limit(3).count());
    assert_eq!(limited, costs(1, pairs(4), 0), "also one behind the limit is looked at");
    // Counting takes no values, but the host comes by them.
    assert_eq!(cost(&mut machine, |cx| cx.scan(b"a", b"b").count()), costs(1, pairs(40), 0));
    let all = cost(&mut machine, |cx| cx.scan(b"a", b"b").last());
    // The second page begins behind a key, which makes its bounds two bytes longer; so does the
    // third. 32 of the second page's pairs fit.
    assert_eq!(all, costs(3, pairs(5) + (pairs(33) + 2) + (pairs(4) + 2), 0));
    let too_long = cost(&mut machine, |cx| cx.scan(b"b", b"").last());
    assert_eq!(too_long, costs(2, 2 * 5_002, 0), "the first page had no room for one pair");
}

#[test]
fn costs_are_those_of_the_last_call() {
    let mut machine = Machine::<()>::new();
    let refused = machine.command(|cx| {
        cx.put(b"key", b"value");
        Err::<(), _>(Status::aborted("no"))
    });
    assert!(refused.is_err());
    assert_eq!(machine.last_costs(), costs(1, 0, 8), "also of one that is taken back");
    machine.query(|cx: &Query<'_>| (cx.get(b"key"), cx.get(b"key")));
    assert_eq!(machine.last_costs(), costs(2, 6, 0));
    assert!(machine.call("no.such/Method", &[]).is_err());
    assert_eq!(machine.last_costs(), Costs::default());
}
