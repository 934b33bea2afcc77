//! Which of a seed's faults are needed for it to fail: those that a person has to understand.
//!
//! Delta debugging (Zeller and Hildebrandt, 2002) over the list of faults. What fails must fail for
//! the same rule.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_wasm::Module;

use crate::plan::Plan;
use crate::run::run;

/// How long a failure is shrunk.
const SHRINK_MAX: Duration = Duration::from_secs(20);

/// The numbers of faults with which the plan still breaks `rule`; all of them, if none can go.
pub fn shrink(plan: &Plan, module: Option<&Arc<Module>>, rule: &str) -> Vec<usize> {
    let until = Instant::now() + SHRINK_MAX;
    let fails = |faults: &[usize]| {
        let run = run(&plan.with_faults(faults), module, false);
        run.verdict.is_err_and(|violation| violation.rule == rule)
    };
    let mut faults = plan.faults();
    if fails(&[]) {
        return Vec::new();
    }
    let mut parts = 2;
    while faults.len() > 1 && Instant::now() < until {
        let size = faults.len().div_ceil(parts);
        let without = (0..faults.len()).step_by(size).map(|from| {
            let to = (from + size).min(faults.len());
            [&faults[..from], &faults[to..]].concat()
        });
        let fewer = without.into_iter().find(|fewer| Instant::now() < until && fails(fewer));
        match fewer {
            Some(fewer) => {
                faults = fewer;
                parts = parts.saturating_sub(1).max(2);
            }
            None if size == 1 => break,
            None => parts = (parts * 2).min(faults.len()),
        }
    }
    faults
}
