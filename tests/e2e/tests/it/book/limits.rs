//! The limits that the book names are those of the code.

use quorate_core::limits;
use quorate_e2e::book;

const PAGE: &str = "guarantees.md";

macro_rules! named {
    ($($name:ident)*) => {
        [$((stringify!($name), u64::try_from(limits::$name).expect("it is not negative"))),*]
    };
}

/// What the page must name.
fn limits_of_the_code() -> Vec<(&'static str, u64)> {
    named![
        REQUEST_BYTES_MAX REPLY_BYTES_MAX KEY_BYTES_MAX VALUE_BYTES_MAX COMMAND_WRITE_BYTES_MAX
        STATUS_MESSAGE_BYTES_MAX STATUS_DETAILS_BYTES_MAX LOG_LINE_BYTES_MAX
        COMMAND_FUEL_MAX QUERY_MS_MAX GUEST_MEMORY_BYTES_MAX MODULE_BYTES_MAX
        CALLS_MAX CALL_BYTES_MAX QUERIES_RUNNING_MAX
        PIPELINE_COMMANDS_MAX PIPELINE_BYTES_MAX PIPELINE_MESSAGE_BYTES_MAX
        SESSIONS_MAX SESSION_REPLIES_MAX SESSION_BYTES_MAX SESSIONS_BYTES_MAX
        LOG_ENTRIES_MAX LOG_BYTES_MAX DISK_RESERVE_PERCENT DISK_RESERVE_BYTES
        VOTERS_MAX LEARNERS_MAX CLOCK_DRIFT_PERCENT_MAX
    ]
    .to_vec()
}

/// A number as people read it: `1.5 MiB`, `100 million`, `10,000`, `2 s`, `5 %`.
fn read(shown: &str) -> Option<u64> {
    let (number, unit) = shown.split_once(' ').unwrap_or((shown, ""));
    let scale = match unit {
        "" | "%" | "ms" | "bytes" => 1,
        "s" => 1_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "million" => 1_000_000,
        _ => return None,
    };
    let number = number.replace(',', "");
    let (whole, half) = number.strip_suffix(".5").map_or((number.as_str(), 0), |n| (n, scale / 2));
    Some(whole.parse::<u64>().ok()? * scale + half)
}

#[test]
fn the_limits_are_those_of_the_code() {
    let text = std::fs::read_to_string(book::folder().join(PAGE)).unwrap();
    let mut named = Vec::new();
    for line in text.lines() {
        // | what | how much | `NAME` | what happens beyond |
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let Some(name) = cells.get(3).and_then(|cell| cell.strip_prefix('`')?.strip_suffix('`'))
        else {
            continue;
        };
        if name.ends_with("_MAX") || name.starts_with("DISK_") {
            let value = read(cells[2]).unwrap_or_else(|| panic!("{line}"));
            named.push((name.to_owned(), value));
        }
    }
    let mut code = limits_of_the_code();
    code.sort_unstable();
    named.sort_unstable();
    let code: Vec<_> = code.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    assert_eq!(named, code);
}

#[test]
fn numbers_are_read_as_people_write_them() {
    for (shown, value) in
        [("1.5 MiB", 3 << 19), ("4 KiB", 4096), ("10,000", 10_000), ("2 s", 2000), ("5 %", 5)]
    {
        assert_eq!(read(shown), Some(value), "{shown}");
    }
    assert_eq!(read("many"), None);
}
