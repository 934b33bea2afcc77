//! The digest of all that a replica has decided: a chain over its entries.
//!
//! XXH3 with 64 bits. It is to notice accidents, not attackers: two replicas that differ are taken
//! for equal one time in 2⁶⁴, and the chain gives every later entry that chance again. A CRC would
//! be linear: what one entry's damage adds, another's could cancel. A cryptographic hash costs ten
//! times as much and buys nothing here.

use xxhash_rust::xxh3::Xxh3;

use crate::canary::{self, Canary};
use crate::id::LogId;
use crate::outcome::{Outcome, codec};
use crate::session::table::Decisions;
use crate::state::{Changes, Meta, Space};

/// The digest after an entry: what its commands decided, what it changed, and the meta, which has
/// the digest before it, the entry's id, the members and the time.
pub(crate) fn chain(meta: &Meta, decisions: &Decisions, changes: &Changes) -> u64 {
    let mut hash = Xxh3::new();
    bytes(&mut hash, &meta.encode());
    if !canary::is_planted(Canary::DigestWithoutOutcomes) {
        let Decisions { decided, same } = decisions;
        hash.update(&(decided.len() as u64).to_le_bytes());
        let mut encoded = Vec::new();
        for (position, (id, outcome)) in decided.iter().enumerate() {
            hash.update(&id.index.to_le_bytes());
            // Thousands of copies of one call may stand in one entry, and its reply be large.
            if let Some(earlier) = same.get(&position) {
                hash.update(&[2]);
                hash.update(&(*earlier as u64).to_le_bytes());
                continue;
            }
            // What an earlier entry decided is in its digest; there may be thousands of copies.
            if *id != meta.applied {
                continue;
            }
            if let Ok(reply) = outcome {
                hash.update(&[1]);
                bytes(&mut hash, reply);
            } else {
                encoded.clear();
                codec::encode(outcome, &mut encoded);
                hash.update(&[0]);
                bytes(&mut hash, &encoded);
            }
        }
    }
    if canary::is_planted(Canary::DigestWithoutWrites) {
        return hash.digest();
    }
    for space in Space::ALL {
        let writes = changes.space(space);
        hash.update(&(writes.len() as u64).to_le_bytes());
        for (key, value) in writes {
            bytes(&mut hash, key);
            hash.update(&[value.is_some().into()]);
            bytes(&mut hash, value.as_deref().unwrap_or_default());
        }
    }
    hash.digest()
}

/// The same for an entry without sessions: for measurements.
pub fn after(meta: &Meta, decided: Vec<(LogId, Outcome)>, changes: &Changes) -> u64 {
    chain(meta, &Decisions { decided, ..Decisions::default() }, changes)
}

/// With their length: so that no two sequences are the same bytes.
fn bytes(hash: &mut Xxh3, bytes: &[u8]) {
    hash.update(&(bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::outcome::Rejection;
    use crate::state::{Key, Value, Writes};

    fn changes() -> Changes {
        let write = |key: &'static [u8], value: Option<&'static [u8]>| {
            (Key::from_slice(key), value.map(Value::from))
        };
        let plugin: Writes = [write(b"a", Some(b"1")), write(b"b", None)].into_iter().collect();
        Changes { sessions: plugin.clone(), plugin }
    }

    fn decisions(meta: &Meta, outcomes: &[Outcome]) -> Decisions {
        let decided = outcomes.iter().map(|outcome| (meta.applied, outcome.clone())).collect();
        Decisions { decided, ..Decisions::default() }
    }

    fn digest(meta: &Meta, outcomes: &[Outcome], changes: &Changes) -> u64 {
        chain(meta, &decisions(meta, outcomes), changes)
    }

    #[test]
    fn each_part_of_an_entry_moves_the_digest() {
        let meta = Meta { applied: LogId { term: 1, index: 2 }, ..Meta::default() };
        let outcomes = [Ok(Bytes::from_static(b"reply")), Err(Rejection::OutOfFuel)];
        let own = digest(&meta, &outcomes, &changes());
        assert_eq!(own, digest(&meta, &outcomes, &changes()), "the same each time");

        let mut seen = std::collections::BTreeSet::from([own]);
        let mut is_new = |meta: &Meta, outcomes: &[Outcome], changes: &Changes| {
            assert!(seen.insert(digest(meta, outcomes, changes)), "{meta:?} {outcomes:?}");
        };
        for bit in 0..64 {
            is_new(&Meta { digest: 1 << bit, ..meta.clone() }, &outcomes, &changes());
            is_new(&Meta { time_ms: 1 << bit, ..meta.clone() }, &outcomes, &changes());
        }
        is_new(&Meta { conf: Bytes::from_static(b"m"), ..meta.clone() }, &outcomes, &changes());
        for bit in 0..40 {
            let mut reply = b"reply".to_vec();
            reply[bit / 8] ^= 1 << (bit % 8);
            is_new(&meta, &[Ok(reply.into()), outcomes[1].clone()], &changes());
        }
        is_new(&meta, &[outcomes[0].clone(), Err(Rejection::OutOfMemory)], &changes());
        is_new(&meta, &outcomes[..1], &changes());
        for space in Space::ALL {
            let mut other = changes();
            other.space_mut(space).insert(Key::from_slice(b"a"), Some(Value::from(*b"0")));
            is_new(&meta, &outcomes, &other);
            other.space_mut(space).insert(Key::from_slice(b"a"), None);
            is_new(&meta, &outcomes, &other);
            other.space_mut(space).clear();
            is_new(&meta, &outcomes, &other);
        }
    }

    /// Who is the copy of whom is part of it, and that costs no more than the number.
    #[test]
    fn a_copy_within_the_entry_is_told_from_another_call() {
        let meta = Meta::default();
        let large = Ok(Bytes::from(vec![7; 1 << 20]));
        let mut copies = decisions(&meta, &vec![large; 4096]);
        let twice = decisions(&meta, &[Ok(Bytes::new()), Ok(Bytes::new())]);
        let mut same = decisions(&meta, &[Ok(Bytes::new()), Ok(Bytes::new())]);
        same.same.insert(1, 0);
        let of = |decisions: &Decisions| chain(&meta, decisions, &Changes::default());
        assert_ne!(of(&twice), of(&same));
        copies.same = (1..4096).map(|position| (position, 0)).collect();
        // Four gigabytes would take half a second, and a hundred entries fifty.
        let digests: std::collections::BTreeSet<_> = (0..100).map(|_| of(&copies)).collect();
        assert_eq!(digests.len(), 1);
    }

    #[test]
    fn bytes_that_move_from_a_key_to_its_value_are_noticed() {
        let writes = |key: &'static str, value: &'static str| -> Changes {
            let write = (Key::from_slice(key.as_bytes()), Some(Value::from(value.as_bytes())));
            Writes::from([write]).into()
        };
        let of = |changes| digest(&Meta::default(), &[], &changes);
        assert_ne!(of(writes("ab", "c")), of(writes("a", "bc")));
    }
}
