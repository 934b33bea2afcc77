//! The chunks of a snapshot: a simpler encoding than the host's, with the same checks.

use bytes::{Buf as _, BufMut as _, Bytes};
use quorate_core::state::{Changes, Key, Space, Value};

use super::Stream;

/// Pairs in a chunk, at most.
const CHUNK_PAIRS_MAX: usize = 2;

/// A state as chunks: at least one.
pub(super) fn chunks(changes: &Changes) -> Vec<Bytes> {
    let pairs = Space::ALL.iter().flat_map(|space| {
        changes.space(*space).iter().map(|(key, value)| (*space, key, value.as_ref()))
    });
    let pairs: Vec<_> = pairs.collect();
    let mut all: Vec<Bytes> = pairs
        .chunks(CHUNK_PAIRS_MAX)
        .map(|pairs| {
            let mut out = Vec::new();
            for (space, key, value) in pairs {
                out.put_u8(space.number());
                for bytes in [Some(&key[..]), value.map(|value| &**value)].into_iter().flatten() {
                    out.put_u32(bytes.len() as u32);
                    out.put_slice(bytes);
                }
            }
            out.into()
        })
        .collect();
    if all.is_empty() {
        all.push(Bytes::new());
    }
    all
}

/// A chunk as it travels, with a checksum that covers its place.
pub(super) fn sealed(stream: Stream, index: usize, chunk: &Bytes) -> Bytes {
    let mut out = chunk.to_vec();
    out.put_u32(checksum(stream, index, chunk));
    out.into()
}

/// Whether a chunk is what was sealed.
pub(super) fn is_sound(stream: Stream, index: usize, bytes: &[u8]) -> bool {
    let Some((chunk, crc)) = bytes.split_last_chunk::<4>() else { return false };
    u32::from_be_bytes(*crc) == checksum(stream, index, chunk)
}

fn checksum(stream: Stream, index: usize, chunk: &[u8]) -> u32 {
    let place = [stream.from.into(), stream.life.into(), stream.number, index as u64];
    crc32c::crc32c_append(crc32c::crc32c(&place.map(u64::to_be_bytes).concat()), chunk)
}

/// The state that sound chunks hold.
pub(super) fn collect(chunks: &[Bytes]) -> Changes {
    let mut changes = Changes::default();
    for chunk in chunks {
        let mut rest = chunk.slice(..chunk.len() - 4);
        while rest.has_remaining() {
            let space = Space::from_number(rest.get_u8()).expect("its checksum is right");
            let mut next = || {
                let len = rest.get_u32() as usize;
                rest.split_to(len)
            };
            let (key, value) = (next(), next());
            changes.space_mut(space).insert(Key::from_slice(&key), Some(Value::from(&*value)));
        }
    }
    changes
}
