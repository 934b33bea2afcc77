//! What a test that failed tells, beside the panic itself.

use std::any::Any;

use crate::ground::Fidelity;
use crate::internal::Place;
use crate::seeds::SEED_VARIABLE;

/// Says something to whoever runs the tests; it shows for tests that fail.
#[expect(clippy::print_stderr, reason = "it is what test harnesses keep for tests that fail")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

/// What a panic said.
pub(crate) fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without a message".to_owned())
}

/// The command that runs one seed of a test again.
pub(crate) fn again(place: Place, fidelity: Fidelity, seed: u64) -> String {
    let test = place.module.split_once("::").map_or(place.module, |(_, within)| within);
    let profile = if cfg!(debug_assertions) { "" } else { " --release" };
    format!(
        "{SEED_VARIABLE}={seed} cargo test{profile} --package {} {test}::{fidelity} -- --exact",
        place.package
    )
}
