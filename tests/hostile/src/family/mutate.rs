//! Modules that were right once.

use super::Family;
use crate::random::Random;
use crate::sections::{self, Section, id};

pub(super) fn module(random: &mut Random) -> Vec<u8> {
    let seed = random.number();
    let wasm = match random.below(10) {
        // It is large, so each one that passes takes a while to compile.
        0 => quorate_modules::KV_MODULE.to_vec(),
        1..=5 => Family::Calls.module(seed),
        6..=8 => Family::Driven.module(seed),
        _ => Family::Smith.module(seed),
    };
    match random.below(6) {
        0 => shuffle(random, wasm),
        1 => {
            let wasm = damage(random, wasm);
            shuffle(random, wasm)
        }
        2 | 3 => damage(random, wasm),
        _ => scratch(random, wasm),
    }
}

/// Turns over one bit of code or of data, which still may be right, and means something else.
fn scratch(random: &mut Random, wasm: Vec<u8>) -> Vec<u8> {
    let Some(mut all) = sections::split(&wasm) else { return wasm };
    let inner = |section: &&mut Section| section.id >= id::CODE && !section.content.is_empty();
    let mut inner: Vec<_> = all.iter_mut().filter(inner).collect();
    let count = inner.len();
    if let Some(section) = inner.get_mut(random.index(count.max(1))) {
        let at = random.index(section.content.len());
        section.content[at] ^= 1 << random.below(8);
    }
    sections::join(&all)
}

/// Changes bytes, without regard to what they mean.
fn damage(random: &mut Random, mut wasm: Vec<u8>) -> Vec<u8> {
    for _ in 0..=random.below(3) {
        let at = random.index(wasm.len().max(1));
        match random.below(12) {
            0 => wasm.truncate(at),
            1 => drop(wasm.splice(at..at, random.bytes(4))),
            2 => {
                let end = wasm.len().min(at + random.index(16));
                wasm.drain(at..end);
            }
            3 => wasm = random.bytes(at.min(64)),
            4 => {
                // The longest number in LEB128, be it a count, a length, an index or an address.
                let end = wasm.len().min(at + 1);
                drop(wasm.splice(at..end, [0xff, 0xff, 0xff, 0xff, 0x0f]));
            }
            5..=7 => {
                if let Some(byte) = wasm.get_mut(at) {
                    *byte = random.pick(&[0, 1, 0x7f, 0x80, 0xff, 0x0b, 0x40, 0x70]);
                }
            }
            _ => {
                if let Some(byte) = wasm.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    wasm
}

/// Moves, doubles, empties, damages or loses whole sections.
fn shuffle(random: &mut Random, wasm: Vec<u8>) -> Vec<u8> {
    let Some(mut all) = sections::split(&wasm).filter(|all| !all.is_empty()) else { return wasm };
    for _ in 0..=random.below(2) {
        let (one, other) = (random.index(all.len()), random.index(all.len()));
        match random.below(8) {
            0 => all.swap(one, other),
            1 => all.insert(other, all[one].clone()),
            2 if all.len() > 1 => drop(all.remove(one)),
            3 => all[one].content = vec![0],
            4 => all[one].id = u8::try_from(random.below(16)).expect("it is small"),
            5 => {
                let content = std::mem::take(&mut all[one].content);
                all[one].content = damage(random, content);
            }
            6 => {
                // Of no meaning anywhere, so this one stays admitted.
                let len = random.index(200);
                let data = random.bytes(len);
                all.insert(other, Section::custom(random.pick(&["name", "", "x"]), &data));
            }
            _ => all[one].content = random.bytes(other),
        }
    }
    sections::join(&all)
}
