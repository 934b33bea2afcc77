//! Histories that are wrong, each in one way that the checkers must name; some in a way that only
//! one of them can know of.

use quorate_history::{Op, by_index, by_search};

mod lies;
mod orders;
mod values;

/// Fewer than these would prove too little of either checker.
const FOUND_MIN: usize = 45;

/// A history that is wrong, and the rule that each checker must name; `LEGAL` if it is none of its
/// business.
struct Illegal {
    name: &'static str,
    by_index: &'static str,
    by_search: &'static str,
    history: Vec<Op>,
}

const LEGAL: &str = "legal for this checker";
const NO_ORDER: &str = "no order explains what was seen";
const NOT_LATEST: &str = "it did not see the latest value";
const EARLIER: &str = "it began later and comes earlier";

/// Whether what a checker says is what it should say.
fn judges<T>(name: &str, rule: &str, found: Result<T, quorate_history::Wrong>) -> bool {
    match found {
        Ok(_) => assert_eq!(rule, LEGAL, "{name}: nothing was found"),
        Err(wrong) => {
            let wrong = wrong.to_string();
            assert!(wrong.starts_with(rule), "{name}: {rule:?} instead of {wrong}");
        }
    }
    rule != LEGAL
}

#[test]
fn histories_that_are_wrong_are_found_each_by_its_rule() {
    let histories: Vec<Illegal> = [orders::histories(), values::histories(), lies::histories()]
        .into_iter()
        .flatten()
        .collect();
    let (mut by_index, mut by_search) = (0, 0);
    for Illegal { name, history, .. } in &histories {
        let illegal = histories.iter().filter(|other| other.name == *name).count();
        assert_eq!(illegal, 1, "{name} is there twice");
        assert!(!history.is_empty(), "{name}");
    }
    for illegal in &histories {
        let Illegal { name, history, .. } = illegal;
        let found_by_index = judges(name, illegal.by_index, by_index::check(history));
        let found_by_search = judges(name, illegal.by_search, by_search::check(history));
        assert!(found_by_index || found_by_search, "{name} is right");
        by_index += usize::from(found_by_index);
        by_search += usize::from(found_by_search);
    }
    assert!(by_index >= FOUND_MIN && by_search >= FOUND_MIN, "{by_index} and {by_search}");
}

#[test]
fn the_order_in_which_calls_were_written_down_does_not_matter() {
    for mut illegal in orders::histories() {
        illegal.history.reverse();
        judges(illegal.name, illegal.by_search, by_search::check(&illegal.history));
        let found = by_index::check(&illegal.history);
        assert_eq!(found.is_err(), illegal.by_index != LEGAL, "{}", illegal.name);
    }
}
