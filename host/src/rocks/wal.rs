//! A look at the write-ahead files of a log before RocksDB reads them.
//!
//! RocksDB's own reader takes some damage for the end of the file, and drops what follows, or never
//! returns (version 11.8): the length of a record is under no checksum, so one that reaches behind
//! the end looks like a write that was cut off; and a flipped bit of its type makes it a record of
//! a recycled file, which ours never are. Acknowledged entries would be gone in silence.
//!
//! A file is blocks of 32 KiB, a block is records: a masked CRC-32C of all but these four bytes and
//! the next two; the length, 2 bytes; a type, 1 byte; the payload. What is left of a block that
//! holds no header is zeros.
//!
//! What this deliberately does not do: read what is in the records.

use std::fs;
use std::path::Path;

use quorate_core::outcome::Fatal;

const BLOCK_BYTES: usize = 32 * 1024;
const HEADER_BYTES: usize = 7;
/// Whole records, and the first, middle and last part of those that do not fit a block.
const TYPES: std::ops::RangeInclusive<u8> = 1..=4;

/// Finds damage in the write-ahead files of the folder. A record that the end of its file cuts off
/// is none: that is how a crash leaves a write that nobody was told of.
pub(super) fn check(dir: &Path) -> Result<(), Fatal> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    for entry in entries {
        let reading = |error: std::io::Error| {
            Fatal::new(format!("reading the folder {}", dir.display()), error.into())
        };
        let path = entry.map_err(reading)?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let bytes = fs::read(&path).map_err(reading)?;
            if let Some(at) = damage(&bytes) {
                return Err(Fatal::msg(format!(
                    "the log is broken: {} is damaged at byte {at}",
                    path.display()
                )));
            }
        }
    }
    Ok(())
}

/// Where the first damaged record is.
fn damage(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        let left = BLOCK_BYTES - at % BLOCK_BYTES;
        let rest = &bytes[at..];
        if left < HEADER_BYTES {
            let padding = &rest[..left.min(rest.len())];
            if padding.iter().any(|byte| *byte != 0) {
                return Some(at);
            }
            at += left;
            continue;
        }
        // Made room for, and never written.
        if rest.iter().all(|byte| *byte == 0) {
            return None;
        }
        match record(&rest[..left.min(rest.len())]) {
            Some(length) => at += length,
            None => return (!is_cut_off(rest, left)).then_some(at),
        }
    }
    None
}

/// The bytes of the sound record that these begin with.
fn record(bytes: &[u8]) -> Option<usize> {
    let (header, _) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let [a, b, c, d, low, high, kind] = *header;
    let end = HEADER_BYTES + usize::from(u16::from_le_bytes([low, high]));
    let checked = bytes.get(HEADER_BYTES - 1..end)?;
    let is_sound = TYPES.contains(&kind) && is_of(u32::from_le_bytes([a, b, c, d]), checked);
    is_sound.then_some(end)
}

fn is_of(masked: u32, checked: &[u8]) -> bool {
    let crc = crc32c::crc32c(checked);
    masked == crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Whether a record that is not sound is one that the file's end cuts off: it reaches behind the
/// end, and neither is it whole, with another length, nor does a sound one follow.
fn is_cut_off(rest: &[u8], left: usize) -> bool {
    let Some((header, _)) = rest.split_first_chunk::<HEADER_BYTES>() else { return true };
    let [a, b, c, d, low, high, kind] = *header;
    let length = HEADER_BYTES + usize::from(u16::from_le_bytes([low, high]));
    let reaches_behind = length > rest.len() && rest.len() < left && TYPES.contains(&kind);
    let is_whole = is_of(u32::from_le_bytes([a, b, c, d]), &rest[HEADER_BYTES - 1..]);
    let follows = (HEADER_BYTES..rest.len()).any(|at| record(&rest[at..]).is_some());
    reaches_behind && !is_whole && !follows
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records of these payloads, all in one block.
    fn file(payloads: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for payload in payloads {
            let checked = [&[1], *payload].concat();
            let crc = crc32c::crc32c(&checked).rotate_right(15).wrapping_add(0xa282_ead8);
            out.extend(crc.to_le_bytes());
            out.extend(u16::try_from(payload.len()).unwrap().to_le_bytes());
            out.extend(checked);
        }
        out
    }

    #[test]
    fn every_flipped_bit_is_found_and_no_file_that_is_cut_off() {
        let sound = file(&[b"one", b"another record", b"the last"]);
        assert_eq!(damage(&sound), None);
        for length in 0..sound.len() {
            assert_eq!(damage(&sound[..length]), None, "{length} bytes");
        }
        for bit in 0..sound.len() * 8 {
            let mut flipped = sound.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(damage(&flipped).is_some(), "bit {bit}");
        }
        let with_room = [sound, vec![0; 100]].concat();
        assert_eq!(damage(&with_room), None);
    }

    #[test]
    fn what_rocksdb_writes_is_sound() {
        let temp = tempfile::tempdir().unwrap();
        let db = rocksdb::DB::open_default(temp.path()).unwrap();
        for number in 0_u32..300 {
            let value = vec![7; (number as usize * 997) % 40_000];
            db.put(number.to_be_bytes(), value).unwrap();
        }
        drop(db);
        check(temp.path()).unwrap();
    }
}
