//! One seed, from its plan to its verdict.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Once};

use quorate_wasm::Module;

use crate::audit::Audited;
use crate::cluster::Cluster;
use crate::fault::Ledger;
use crate::oracle::{Checked, Violation};
use crate::plan::Plan;
use crate::tally::{self, Tally};
use crate::time::Time;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Run {
    /// What was checked, or what is wrong.
    pub verdict: Checked<Audited>,
    /// How much virtual time passed.
    pub lasted: Time,
    /// How many events there were.
    pub events: u64,
    /// Equal when the same happened.
    pub digest: u64,
    /// What went wrong on purpose.
    pub ledger: Ledger,
    /// How often each rare path of the core was taken.
    pub marks: Tally,
    /// How many terms had a leader.
    pub terms_led: u64,
    /// The story, if it was asked for.
    pub lines: Vec<String>,
}

/// Runs a plan to its end. A panic of what is under test is a verdict like others.
pub fn run(plan: &Plan, module: Option<&Arc<Module>>, is_traced: bool) -> Run {
    listen_to_panics();
    let mut cluster = None;
    let verdict = panic::catch_unwind(AssertUnwindSafe(|| {
        let cluster = cluster.insert(Cluster::new(plan.clone(), module, is_traced)?);
        cluster.run_until(plan.lasts)?;
        cluster.finish()
    }));
    let verdict = verdict
        .unwrap_or_else(|panic| Err(Violation::new("the core does not panic", said(&*panic))));
    let Some(cluster) = cluster else {
        return Run {
            verdict,
            lasted: 0,
            events: 0,
            digest: 0,
            ledger: Ledger::default(),
            marks: tally::none(),
            terms_led: 0,
            lines: Vec::new(),
        };
    };
    let digest = crate::trace::mix(cluster.trace.digest(), cluster.oracle.digest());
    Run {
        verdict,
        lasted: cluster.now,
        events: cluster.trace.events(),
        digest,
        ledger: cluster.ledger.clone(),
        marks: cluster.marks(),
        terms_led: cluster.oracle.terms_led() as u64,
        lines: cluster.trace.lines().to_vec(),
    }
}

thread_local! {
    static PANICKED_AT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Panics of a run are told by its verdict, with their place, not on standard error.
fn listen_to_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            if place.contains("tests/") && !place.contains("tests/sim/src") {
                before(info);
            }
            PANICKED_AT.with_borrow_mut(|at| *at = place);
        }));
    });
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    let at = PANICKED_AT.with_borrow(String::clone);
    format!("{}, at {at}", text.unwrap_or_default())
}
