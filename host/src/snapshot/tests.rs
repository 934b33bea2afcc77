//! Snapshots of small states: what comes back, and that nothing else does.

use std::sync::Arc;

use quorate_core::limits::{SNAPSHOT_CHUNK_BYTES, VALUE_BYTES_MAX};
use quorate_core::state::conformance::meta;
use quorate_core::state::{MemoryBuilder, Range, StateBuilder as _, StateStore as _, StateView};

use super::*;

fn header() -> Header {
    Header { cluster: "a".to_owned(), group: GroupId(1), module: [7; 32], fuel: 1, meta: meta(12) }
}

/// A view of these pairs.
fn view(pairs: impl IntoIterator<Item = (Space, Vec<u8>, Vec<u8>)>) -> Arc<dyn StateView> {
    let mut builder = MemoryBuilder::new();
    for (space, key, value) in pairs {
        builder.put(space, &key, &value).unwrap();
    }
    builder.finish(meta(12)).unwrap().snapshot()
}

fn small() -> Arc<dyn StateView> {
    let pairs =
        [(Space::Plugin, "", "empty"), (Space::Plugin, "a", ""), (Space::Sessions, "a", "s")];
    view(pairs.map(|(space, key, value)| (space, key.into(), value.into())))
}

/// Of some chunks, whose values differ enough that none compresses to nothing.
fn large() -> Arc<dyn StateView> {
    let value = |number: u32| number.to_le_bytes().repeat(5_000);
    let pair = |space| move |number: u32| (space, number.to_be_bytes().to_vec(), value(number));
    let plugin = (0..100).map(pair(Space::Plugin));
    let largest = (Space::Plugin, vec![1], vec![9; VALUE_BYTES_MAX]);
    let sessions = (0..40).map(pair(Space::Sessions));
    view(plugin.chain([largest]).chain(sessions))
}

fn frames(view: &Arc<dyn StateView>) -> Vec<Bytes> {
    all(Encoder::new(&header(), Arc::clone(view)).unwrap())
}

fn all(mut encoder: Encoder) -> Vec<Bytes> {
    std::iter::from_fn(|| encoder.next_frame().unwrap()).collect()
}

fn file(view: &Arc<dyn StateView>) -> Vec<u8> {
    frames(view).concat()
}

/// Reads a whole file: the header, and a state of its records.
fn read(file: &[u8]) -> Result<(Header, Arc<dyn StateView>, Position), Unreadable> {
    let mut reader = Reader::new(file);
    let mut builder = MemoryBuilder::new();
    let mut found = None;
    while let Some(content) = reader.next_content()? {
        match content {
            Content::Header(header) => found = Some(header),
            Content::Records(records) => records.put_into(&mut builder).unwrap(),
            Content::End => {}
        }
    }
    assert!(reader.decoder().is_whole());
    assert_eq!(reader.bytes(), file.len() as u64);
    let header = found.expect("a whole snapshot has a header");
    let position = reader.decoder().position().cloned().unwrap();
    let view = builder.finish(header.meta.clone()).unwrap().snapshot();
    Ok((header, view, position))
}

fn pairs(view: &dyn StateView) -> Vec<(Space, Vec<u8>, Vec<u8>)> {
    let mut pairs = Vec::new();
    for space in Space::ALL {
        let scanned = view.scan(space, Range::ALL, &mut |key, value| {
            pairs.push((space, key.to_vec(), value.to_vec()));
            std::ops::ControlFlow::Continue(())
        });
        scanned.unwrap();
    }
    pairs
}

#[test]
fn a_state_comes_back_as_it_was() {
    for view in [view([]), small(), large()] {
        let (found, back, position) = read(&file(&view)).unwrap();
        assert_eq!(found, header());
        assert_eq!(back.meta(), view.meta());
        assert_eq!(pairs(&*back), pairs(&*view));
        assert_eq!(position.records, pairs(&*view).len() as u64);
    }
}

#[test]
fn one_state_has_one_snapshot() {
    assert_eq!(file(&large()), file(&large()));
    let (_, back, _) = read(&file(&large())).unwrap();
    assert_eq!(file(&back), file(&large()), "also when it came by a snapshot itself");
}

#[test]
fn chunks_are_bounded_and_a_large_record_travels_alone() {
    let mut decoder = Decoder::new();
    let mut sizes = Vec::new();
    for frame in frames(&large()) {
        let before = decoder.position().map_or(0, |position| position.bytes);
        if let Content::Records(records) = decoder.take(&frame).unwrap() {
            let bytes = decoder.position().unwrap().bytes - before;
            assert!(bytes <= SNAPSHOT_CHUNK_BYTES as u64 || records.into_iter().len() == 1);
            sizes.push(bytes);
        }
    }
    assert!(sizes.len() > 5 && sizes.iter().any(|bytes| *bytes > VALUE_BYTES_MAX as u64));
}

#[test]
fn a_stream_goes_on_wherever_it_broke_off() {
    let view = large();
    let frames = frames(&view);
    for taken in 1..frames.len() {
        let mut decoder = Decoder::new();
        for frame in &frames[..taken] {
            decoder.take(frame).unwrap();
        }
        let position = decoder.position().unwrap().clone();
        let rest = Encoder::resume(&header(), Arc::clone(&view), position).unwrap();
        assert_eq!(all(rest), frames[taken..]);
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let sound = file(&small());
    for bit in 0..sound.len() * 8 {
        let mut file = sound.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&file).is_err(), "bit {bit}");
    }
}

#[test]
fn every_truncation_is_refused_and_so_is_a_tail() {
    let sound = file(&small());
    for len in 0..sound.len() {
        let Err(Unreadable::Damaged { offset, damage }) = read(&sound[..len]) else {
            panic!("{len} bytes");
        };
        assert_eq!(damage.what, Wrong::Length, "{len} bytes");
        assert!(offset <= len as u64);
    }
    let longer = [sound.as_slice(), &[0]].concat();
    assert!(matches!(read(&longer), Err(Unreadable::GoesOn(at)) if at == sound.len() as u64));
}

#[test]
fn a_frame_in_another_place_is_refused() {
    let sound = frames(&large());
    assert!(sound.len() > 4);
    let refused = |frames: &[Bytes]| match read(&frames.concat()) {
        Err(Unreadable::Damaged { damage, .. }) => damage,
        other => panic!("{:?}", other.map(|(header, ..)| header)),
    };
    let mut swapped = sound.clone();
    swapped.swap(2, 3);
    assert_eq!(refused(&swapped), Damage { frame: 2, what: Wrong::Sequence });
    let mut twice = sound.clone();
    twice.insert(2, twice[1].clone());
    assert_eq!(refused(&twice), Damage { frame: 2, what: Wrong::Sequence });
    let mut missing = sound.clone();
    missing.remove(sound.len() - 2);
    let last = sound.len() as u64 - 2;
    assert_eq!(refused(&missing), Damage { frame: last, what: Wrong::Sequence });
    assert_eq!(refused(&sound[1..]).what, Wrong::Checksum, "no header");
}

#[test]
fn a_chunk_of_another_snapshot_is_refused() {
    let other = Header { cluster: "b".to_owned(), ..header() };
    let view = small();
    let others = all(Encoder::new(&other, Arc::clone(&view)).unwrap());
    let mut decoder = Decoder::new();
    decoder.take(&frames(&view)[0]).unwrap();
    assert_eq!(decoder.take(&others[1]).unwrap_err().what, Wrong::Checksum);
    decoder.take(&frames(&view)[1]).expect("what was refused changed nothing");
}

/// Of the same header, as no two states are that were made by one log.
#[test]
fn a_stream_that_goes_on_with_another_state_is_refused_at_its_end() {
    let view = large();
    let mut decoder = Decoder::new();
    decoder.take(&frames(&view)[0]).unwrap();
    let other = frames(&small());
    decoder.take(&other[1]).expect("nobody could tell");
    let mut position = decoder.position().unwrap().clone();
    position.digest[0] ^= 1;
    let rest = all(Encoder::resume(&header(), view, position).unwrap());
    let ends: Vec<_> = rest.iter().map(|frame| decoder.take(frame).map(|_| ())).collect();
    assert_eq!(ends.last().unwrap().as_ref().unwrap_err().what, Wrong::Total);
    assert!(!decoder.is_whole());
}

/// A frame may claim any size; nobody makes room for it.
#[test]
fn a_frame_that_claims_too_much_is_refused_by_its_head() {
    let frames = frames(&small());
    let mut chunk = frames[1].to_vec();
    chunk[13..17].copy_from_slice(&u32::MAX.to_le_bytes());
    let file = [frames[0].as_ref(), &chunk].concat();
    let Err(Unreadable::Damaged { damage, .. }) = read(&file) else { panic!("it was taken") };
    assert_eq!(damage, Damage { frame: 1, what: Wrong::TooLarge });
    let mut chunk = frames[1].to_vec();
    chunk[3] = 9;
    let file = [frames[0].as_ref(), &chunk].concat();
    let Err(unreadable) = read(&file) else { panic!("it was taken") };
    let expected = "chunk 1 has format 9, this version knows 1";
    assert_eq!(unreadable.to_string(), format!("at byte {}: {expected}", frames[0].len()));
}

/// Checksums that fit do not make a chunk sound: records out of order, lengths that lie, a bomb.
#[test]
fn a_chunk_that_makes_no_sense_is_refused() {
    let record = |space: u8, key: &[u8], value: &[u8]| {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
        [[space].as_slice(), &length(key), &length(value), key, value].concat()
    };
    let (a, b) = (record(1, b"a", b"1"), record(1, b"b", b"2"));
    let long = record(1, b"", b"long");
    let cases = [
        (vec![], "no records"),
        ([b, a.clone()].concat(), "out of order"),
        ([a.clone(), a.clone()].concat(), "out of order"),
        ([record(2, b"a", b""), a.clone()].concat(), "out of order"),
        (record(9, b"a", b""), "no space"),
        (record(1, &[0; 5000], b""), "over its limit"),
        (long[..long.len() - 1].to_vec(), "cut off"),
        ([a.clone(), vec![1]].concat(), "cut off"),
    ];
    let seal = |content: &[u8], content_bytes| {
        let identity = identity(&Position::after_header(&header().encode()));
        let stored = zstd::bulk::compress(content, 1).unwrap();
        frame::seal(frame::Kind::Chunk, 1, identity, content_bytes, &stored)
    };
    let take = |frame: &[u8]| {
        let mut decoder = Decoder::new();
        decoder.take(&frames(&small())[0]).unwrap();
        decoder.take(frame).unwrap_err().to_string()
    };
    for (content, problem) in cases {
        let refused = take(&seal(&content, content.len()));
        assert!(refused.contains(problem), "{refused}");
    }
    let bomb = vec![0; 1_000_000];
    assert!(take(&seal(&bomb, 1000)).contains("does not decompress"));
    assert!(take(&seal(&a, a.len() + 1)).contains("another length"));
}
