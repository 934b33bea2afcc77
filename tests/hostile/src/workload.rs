//! The log that a module is fed.

use bytes::Bytes;
use quorate_core::batch::{self, Command, Payload};
use quorate_core::id::LogId;
use quorate_core::limits;

use crate::manifest;
use crate::random::Random;

/// An entry of the log.
pub type Entry = (LogId, Payload);

/// Entries of a log, at most.
const ENTRIES_MAX: u32 = 8;
/// Commands of an entry, at most.
const COMMANDS_MAX: u32 = 5;

/// The log of a number; `methods` are those that its module has.
pub fn log(seed: u64, methods: &[u32]) -> Vec<Entry> {
    let random = &mut Random::new(seed, "log");
    let mut id = LogId { term: 1, index: 0 };
    (0..4 + random.below(ENTRIES_MAX - 3))
        .map(|_| {
            id.index += 1;
            id.term += u64::from(random.one_in(4));
            (id, payload(random, methods))
        })
        .collect()
}

/// Queries of a number.
pub fn queries(seed: u64, methods: &[u32]) -> Vec<Command> {
    let random = &mut Random::new(seed, "queries");
    (0..2).map(|_| command(random, methods)).collect()
}

fn payload(random: &mut Random, methods: &[u32]) -> Payload {
    match random.below(20) {
        0 => Payload::Empty,
        1 => Payload::Members(random.bytes(9).into()),
        _ => {
            // Leaders' clocks: they go on, stand, fall back, and run ahead.
            let time_ms = match random.below(8) {
                0 => random.number(),
                1 => 0,
                _ => 1_800_000_000_000 + u64::from(random.below(1_000_000)),
            };
            let count = if random.one_in(30) { 0 } else { 1 + random.below(COMMANDS_MAX) };
            let commands: Vec<_> = (0..count).map(|_| command(random, methods)).collect();
            Payload::Commands(batch::encode(time_ms, commands.iter()))
        }
    }
}

fn command(random: &mut Random, methods: &[u32]) -> Command {
    let own = manifest::methods();
    let methods = if methods.is_empty() { &own } else { methods };
    // Nobody calls what a module does not have; a log may still hold it.
    let method = if random.one_in(10) { random.word() } else { random.pick(methods) };
    let len = match random.below(40) {
        0 => 0,
        1 => limits::REQUEST_BYTES_MAX,
        2..=4 => random.index(100_000),
        5..=12 => random.index(5_000),
        _ => random.index(128),
    };
    let payload = if random.one_in(8) {
        vec![random.pick(&[0, 0xff, 0x80]); len].into()
    } else {
        Bytes::from(random.bytes(len))
    };
    Command::new(method, payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_in_order_and_the_same_each_time() {
        for seed in 0..200 {
            let entries = log(seed, &[]);
            assert_eq!(entries, log(seed, &[]));
            for (at, pair) in entries.windows(2).enumerate() {
                let [(one, _), (next, _)] = pair else { unreachable!("windows are of two") };
                assert_eq!(one.index, at as u64 + 1);
                assert!(next.index == one.index + 1 && next.term >= one.term);
            }
        }
    }
}
