//! The simulated log: what every log does, and what a crash or a flipped bit leaves of it.

use quorate_core::log::{LogStore as _, conformance};

use super::*;

fn open(disk: &SharedDisk) -> SimLog {
    SimLog::open(disk).unwrap()
}

#[test]
fn the_simulated_log_conforms() {
    conformance::suite(|| open(&Disk::new(false, &Known::default(), fastrand::Rng::with_seed(1))));
}

/// Two rounds, of which the second is not synced when the process ends.
fn crashed(unsynced: Unsynced, seed: u64) -> (SharedDisk, Option<Unsynced>) {
    let disk = Disk::new(false, &Known::default(), fastrand::Rng::with_seed(seed));
    let mut log = open(&disk);
    conformance::append(&mut log, &[conformance::entry(1, 1, b"durable")]);
    let synced = lock(&disk).now;
    conformance::append(&mut log, &[conformance::entry(2, 1, &[7; 500])]);
    let done = lock(&disk).crash(synced, unsynced);
    (disk, done)
}

#[test]
fn what_was_synced_is_there_whatever_became_of_the_rest() {
    for seed in 0..50 {
        for unsynced in [Unsynced::Lost, Unsynced::Torn, Unsynced::Reordered] {
            let (disk, done) = crashed(unsynced, seed);
            assert!(done.is_some());
            assert_eq!(open(&disk).last_index(), 1, "seed {seed}, {unsynced:?}");
        }
        let (disk, _) = crashed(Unsynced::Kept, seed);
        assert_eq!(open(&disk).last_index(), 2);
    }
}

#[test]
fn every_flipped_bit_is_found() {
    for seed in 0..200 {
        let (disk, _) = crashed(Unsynced::Lost, seed);
        assert!(lock(&disk).rot());
        let error = SimLog::open(&disk).expect_err("it is damaged").to_string();
        assert!(error.contains("damaged"), "{error}");
    }
}
