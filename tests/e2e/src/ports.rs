//! Ports for nodes that must know each other's before they run.

use std::net::TcpListener;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below those that the system gives to whoever asks for any: while a node is down, no connection
/// of another can take its port.
const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port that is free, and not given out again by this process.
pub fn free() -> u16 {
    free_in_a_row(1)
}

/// The first of `count` such ports in a row.
pub fn free_in_a_row(count: u32) -> u16 {
    // Another process that tests at the same time begins elsewhere.
    let begin = process::id().wrapping_mul(101);
    for _ in 0..COUNT {
        let offset = begin.wrapping_add(NEXT.fetch_add(count, Ordering::Relaxed)) % COUNT;
        let first = u16::try_from(FIRST + offset).expect("far below 65,536");
        let mut ports = first..first + u16::try_from(count).expect("a few");
        if ports.all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
    panic!("no {count} free ports in a row");
}

/// The address on this machine.
pub fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}
