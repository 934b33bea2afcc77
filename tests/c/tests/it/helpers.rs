//! What the header's helpers do, in the real sandbox: `probe/probe.c` shows it.

use std::sync::{Arc, OnceLock};

use proptest::collection::vec;
use proptest::prelude::*;
use quorate_abi::{Frame, scan};
use quorate_c::{Bench, TIME_MS, build, load, root};
use quorate_core::outcome::{Outcome, Rejection};
use quorate_wasm::Module;

use crate::folder;

/// A machine with the probe.
fn probe() -> Bench {
    static MODULE: OnceLock<Arc<Module>> = OnceLock::new();
    let module = MODULE.get_or_init(|| {
        let source = root().join("tests/c/probe/probe.c");
        let proto = root().join("tests/c/probe/proto/probe/v1/probe.proto");
        load(&build(&source.canonicalize().expect("it is there"), &proto, &folder("probe")))
    });
    Bench::new(module)
}

fn call(bench: &mut Bench, method: &str, payload: &[u8]) -> Outcome {
    bench.command(&format!("probe.v1.Probe/{method}"), payload)
}

fn reply(bench: &mut Bench, method: &str, payload: &[u8]) -> Vec<u8> {
    call(bench, method, payload).unwrap_or_else(|refused| panic!("{method}: {refused}")).to_vec()
}

fn number(bench: &mut Bench, method: &str, payload: &[u8]) -> u32 {
    u32::from_le_bytes(reply(bench, method, payload).try_into().expect("a number"))
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).expect("tests are short");
    [&len.to_le_bytes(), bytes].concat()
}

fn put(bench: &mut Bench, key: &[u8], value: &[u8]) {
    reply(bench, "Put", &[&with_length(key), value].concat());
}

#[test]
fn a_frame_is_read_whatever_its_length() {
    let mut bench = probe();
    for len in [0, 1, 4_056, 4_057, 100_000] {
        let payload = vec![7; len];
        let path = "probe.v1.Probe/Frame";
        // The second command is at another place, and finds the buffer that the first one left.
        let outcomes = bench.entry(&[(path, b"first"), (path, &payload)]);
        let shown = outcomes[1].as_ref().expect("it only shows").to_vec();
        let (header, rest) = shown.split_at(32);
        let expected = Frame {
            index: 0,
            time_ms: TIME_MS,
            seed: 0,
            position: 1,
            method: quorate_abi::method_id(path),
            payload: &payload,
        }
        .header();
        assert_eq!(header[8..16], expected[8..16], "time");
        assert_eq!(header[24..32], expected[24..32], "position and method");
        assert_ne!(header[16..24], outcomes[0].as_ref().expect("as above")[16..24], "seed");
        assert_eq!(rest, payload);
    }
    let second = reply(&mut bench, "Frame", b"");
    assert_eq!(second[..8], 6_u64.to_le_bytes(), "index");
}

#[test]
fn values_are_kept_whatever_their_length() {
    let mut bench = probe();
    let absent = call(&mut bench, "Get", b"key").unwrap_err();
    assert!(matches!(absent, Rejection::Status { code: 5, .. }), "{absent}");
    for len in [0, 512, 513, 200_000] {
        put(&mut bench, b"key", &vec![8; len]);
        assert_eq!(reply(&mut bench, "Get", b"key"), vec![8; len]);
        assert_eq!(bench.query("probe.v1.Probe/Peek", b"key").expect("there is one").len(), len);
    }
    assert_eq!(number(&mut bench, "Delete", b"key"), 1);
    assert_eq!(number(&mut bench, "Delete", b"key"), 0);
    let trapped = bench.query("probe.v1.Probe/Peek", b"write").unwrap_err();
    assert!(matches!(trapped, Rejection::Trap { .. }), "{trapped}");
}

/// A scan's page, as the probe shows it.
fn page(bench: &mut Bench, flags: u32, limit: u32, cap: u32, ends: [&[u8]; 2]) -> (bool, Vec<u8>) {
    let numbers: Vec<u8> = [flags, limit, cap].iter().flat_map(|n| n.to_le_bytes()).collect();
    let payload = [numbers, with_length(ends[0]), with_length(ends[1])].concat();
    let shown = reply(bench, "Scan", &payload);
    let (more, pairs) = shown.split_at(4);
    (more == [1, 0, 0, 0], pairs.to_vec())
}

#[test]
fn scans_have_pages() {
    let mut bench = probe();
    for key in [b"a", b"b", b"c", b"d"] {
        put(&mut bench, key, &[9; 100]);
    }
    let pairs = |keys: &[&[u8]], value: &[u8]| {
        keys.iter().flat_map(|key| [with_length(key), with_length(value)].concat()).collect()
    };
    let value = [9; 100];
    let all: [&[u8]; 2] = [b"", b""];
    let four: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];
    assert_eq!(page(&mut bench, 0, 0, 4096, all), (false, pairs(&four, &value)));
    assert_eq!(page(&mut bench, 0, 2, 4096, all), (true, pairs(&four[..2], &value)));
    let keys = page(&mut bench, scan::KEYS_ONLY, 0, 4096, [b"b", b"d"]);
    assert_eq!(keys, (false, pairs(&four[1..3], b"")));
    let last = page(&mut bench, scan::REVERSE, 1, 4096, all);
    assert_eq!(last, (true, pairs(&four[3..], &value)));
    let cramped = page(&mut bench, 0, 0, 16, all);
    assert_eq!(cramped, (true, pairs(&four[..1], &value)), "one pair finds room");
    assert_eq!(page(&mut bench, 0, 0, 16, [b"x", b""]), (false, Vec::new()));

    let below = [with_length(b"b"), b"d".to_vec()].concat();
    assert_eq!(number(&mut bench, "DeleteRange", &below), 2);
    assert_eq!(bench.pairs().len(), 2);
}

#[test]
fn a_call_ends_in_every_way() {
    let mut bench = probe();
    let refused = call(&mut bench, "Refuse", &[&9_u32.to_le_bytes(), "nö".as_bytes()].concat());
    let Err(Rejection::Status { code, message, details }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((code, message.as_str(), details.len()), (9, "nö", 0));

    let aborted = call(&mut bench, "Abort", b"").unwrap_err();
    assert!(aborted.to_string().contains("as it was told"), "{aborted}");

    let pages = number(&mut bench, "Alloc", &5_000_000_u32.to_le_bytes());
    assert!(pages > 5_000_000 / 65_536, "it grew: {pages}");
    let again = number(&mut bench, "Alloc", &100_u32.to_le_bytes());
    assert!(again < pages, "another entry has another instance");
    let too_much = call(&mut bench, "Alloc", &70_000_000_u32.to_le_bytes()).unwrap_err();
    assert!(matches!(too_much, Rejection::OutOfMemory), "{too_much}");

    // Calls of one entry take the memory again that those before had.
    let large = 20_000_000_u32.to_le_bytes();
    let path = "probe.v1.Probe/Alloc";
    let five: Vec<(&str, &[u8])> = (0..5).map(|_| (path, large.as_slice())).collect();
    for outcome in bench.entry(&five) {
        assert!(outcome.is_ok(), "{outcome:?}");
    }
}

/// A message of the wire types that there are, and what it says.
#[derive(Clone, PartialEq, prost::Message)]
struct Sample {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(bytes, tag = "2")]
    bytes: Vec<u8>,
    #[prost(uint64, tag = "300")]
    far: u64,
    #[prost(uint64, repeated, packed = "false", tag = "5000")]
    many: Vec<u64>,
}

proptest! {
    // Each case is a call of the sandbox.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn messages_are_read_and_written(
        number: u64,
        bytes: Vec<u8>,
        far in 0..200_u64,
        many in vec(1_u64.., 0..5),
    ) {
        use prost::Message as _;
        let sample = Sample { number, bytes, far, many };
        let encoded = sample.encode_to_vec();
        prop_assert_eq!(reply(&mut probe(), "Rewrite", &encoded), encoded);
    }

    /// Whatever comes, it is refused or read, and never ends in a trap.
    #[test]
    fn other_bytes_are_refused(bytes in vec(prop_oneof![0..24_u8, any::<u8>()], 0..12)) {
        match call(&mut probe(), "Rewrite", &bytes) {
            Ok(_) => {}
            Err(refused) => {
                prop_assert!(matches!(refused, Rejection::Status { code: 3, .. }), "{}", refused);
            }
        }
    }
}

/// All strings of up to four bytes, of those at which something changes.
#[test]
fn utf8_is_what_rust_says() {
    const FIRST: [u8; 23] = [
        0x00, 0x41, 0x7f, 0x80, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef,
        0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf7, 0xf8, 0xff,
    ];
    const LATER: [u8; 9] = [0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0];
    let mut strings = vec![Vec::new()];
    let mut longest: Vec<Vec<u8>> = FIRST.map(|byte| vec![byte]).to_vec();
    for _ in 1..=4 {
        strings.extend_from_slice(&longest);
        longest = longest
            .iter()
            .flat_map(|string| LATER.map(|byte| [string.as_slice(), &[byte]].concat()))
            .collect();
    }
    let payload: Vec<u8> = strings.iter().flat_map(|string| with_length(string)).collect();
    let judged = reply(&mut probe(), "IsUtf8", &payload);
    assert_eq!(judged.len(), strings.len());
    for (string, judged) in strings.iter().zip(judged) {
        assert_eq!(judged == 1, std::str::from_utf8(string).is_ok(), "{string:x?}");
    }
}
