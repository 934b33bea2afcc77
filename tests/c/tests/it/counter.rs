//! The counter in C and the counter in Rust, in the same sandbox: what one does, the other does.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::{env, fs};

use counter::{AddReply, AddRequest, GetReply, GetRequest, ResetReply, ResetRequest};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use quorate_c::{Bench, build, load, root};
use quorate_core::outcome::{Outcome, Rejection};
use quorate_toolchain::{BuildRequest, Toolchain, shared_target_dir};
use quorate_wasm::Module;

use crate::folder;

const ADD: &str = "counter.v1.Counter/Add";
const GET: &str = "counter.v1.Counter/Get";
const RESET: &str = "counter.v1.Counter/Reset";

/// The tests of the plugin in Rust, as they are.
#[path = "../../../../plugins/counter/tests/it.rs"]
mod of_rust;

fn built() -> &'static [u8] {
    static MODULE: OnceLock<Vec<u8>> = OnceLock::new();
    MODULE.get_or_init(|| {
        let source = root().join("plugins/counter-c/counter.c");
        let proto = root().join("plugins/counter/proto/counter/v1/counter.proto");
        build(&source.canonicalize().expect("it is there"), &proto, &folder("counter"))
    })
}

fn in_c() -> Bench {
    static MODULE: OnceLock<Arc<Module>> = OnceLock::new();
    Bench::new(MODULE.get_or_init(|| load(built())))
}

/// Runs those tests in a process of their own, on that module: by itself, and on the nodes of a
/// simulated cluster where things go wrong.
fn tests_of_rust_on(module: &Path) -> (bool, String) {
    let ran = Command::new(env::current_exe().expect("a test knows its file"))
        .args(["::wasm", "::cluster"])
        .env("QUORATE_MODULE", module)
        .env("QUORATE_CLUSTER", "wasm")
        .output()
        .expect("it runs");
    (ran.status.success(), String::from_utf8_lossy(&ran.stdout).into_owned())
}

#[test]
fn the_tests_of_the_plugin_in_rust_pass_on_the_one_in_c() {
    let module = folder("counter").join("counter.wasm");
    fs::write(&module, built()).expect("the tests' folder can be written to");
    let (passed, said) = tests_of_rust_on(&module);
    assert!(passed, "{said}");
    for fidelity in ["wasm", "cluster"] {
        let ok = format!("::{fidelity} ... ok");
        // Two tests, and the model.
        assert_eq!(said.matches(&ok).count(), 3, "{said}");
    }
    let (passed, said) = tests_of_rust_on(Path::new("nowhere.wasm"));
    assert!(!passed && said.contains(" 0 passed"), "it is the module that is tested: {said}");
}

fn in_rust() -> Bench {
    static MODULE: OnceLock<Arc<Module>> = OnceLock::new();
    Bench::new(MODULE.get_or_init(|| {
        let crate_dir = root().join("plugins/counter");
        let toolchain = Toolchain::find(&crate_dir).unwrap_or_else(|missing| panic!("{missing}"));
        let request = BuildRequest::new(crate_dir, shared_target_dir());
        let built = toolchain.build(&request).unwrap_or_else(|error| panic!("{error}"));
        load(&built.wasm)
    }))
}

fn both() -> [Bench; 2] {
    [in_c(), in_rust()]
}

fn add(bench: &mut Bench, name: &str, by: u64) -> Result<u64, u32> {
    let request = AddRequest { name: name.to_owned(), by };
    decoded(bench.command(ADD, &request.encode_to_vec()), |reply: AddReply| reply.total)
}

fn get(bench: &Bench, name: &str) -> Result<u64, u32> {
    let request = GetRequest { name: name.to_owned() };
    decoded(bench.query(GET, &request.encode_to_vec()), |reply: GetReply| reply.total)
}

fn reset(bench: &mut Bench, name: &str) -> Result<u64, u32> {
    let request = ResetRequest { name: name.to_owned() };
    decoded(bench.command(RESET, &request.encode_to_vec()), |reply: ResetReply| reply.total)
}

/// What a reply says, or the code of a refusal.
fn decoded<R: Message + Default>(outcome: Outcome, total: impl Fn(R) -> u64) -> Result<u64, u32> {
    match outcome {
        Ok(reply) => Ok(total(R::decode(reply).expect("a reply is one"))),
        Err(Rejection::Status { code, .. }) => Err(code),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn counters_count_on_their_own() {
    for mut bench in both() {
        assert_eq!(add(&mut bench, "a", 2), Ok(2));
        assert_eq!(add(&mut bench, "a", 3), Ok(5));
        assert_eq!(add(&mut bench, "b", 1), Ok(1));
        assert_eq!((get(&bench, "a"), get(&bench, "b"), get(&bench, "c")), (Ok(5), Ok(1), Ok(0)));
        assert_eq!(reset(&mut bench, "a"), Ok(5));
        assert_eq!((get(&bench, "a"), get(&bench, "b")), (Ok(0), Ok(1)));
    }
}

#[test]
fn what_cannot_be_added_is_refused() {
    for mut bench in both() {
        assert_eq!(add(&mut bench, "", 1), Err(3));
        assert_eq!(add(&mut bench, &"a".repeat(201), 1), Err(3));
        assert_eq!(add(&mut bench, &"a".repeat(200), 1), Ok(1));
        assert_eq!(add(&mut bench, "a", u64::MAX), Ok(u64::MAX));
        assert_eq!(add(&mut bench, "a", 1), Err(11));
        assert_eq!(get(&bench, "a"), Ok(u64::MAX));
    }
}

#[test]
fn what_is_no_request_is_refused() {
    let wrong: [&[u8]; 7] = [
        b"\xff",         // a number that does not end
        b"\x0a\x05abc",  // shorter than it says
        b"\x0a\x01\xff", // not UTF-8
        b"\x08\x01",     // a number for a name
        b"\x12\x01a",    // a name for a number
        b"\x07",         // a wire type that there is not
        b"\x02\x00",     // field 0
    ];
    for mut bench in both() {
        for request in wrong {
            let refused = bench.command(ADD, request).unwrap_err();
            assert!(matches!(refused, Rejection::Status { code: 3, .. }), "{request:?}: {refused}");
        }
        // A field that is not known is ignored, and of two the last one counts.
        let odd = [b"\x0a\x01x\x0a\x01a\x10\x07\x78\x01\x7a\x01z\x10\x02".as_slice()].concat();
        assert_eq!(decoded(bench.command(ADD, &odd), |reply: AddReply| reply.total), Ok(2));
        assert_eq!(get(&bench, "a"), Ok(2));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add(String, u64),
    Reset(String),
    Get(String),
    /// Any bytes at all.
    Raw(Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    let name = prop::sample::select(vec!["", "a", "ä\0", "a long name"]).prop_map(str::to_owned);
    let by = prop_oneof![0..3_u64, any::<u64>()];
    prop_oneof![
        4 => (name.clone(), by).prop_map(|(name, by)| Step::Add(name, by)),
        1 => name.clone().prop_map(Step::Reset),
        2 => name.prop_map(Step::Get),
        1 => vec(prop_oneof![0..24_u8, any::<u8>()], 0..8).prop_map(Step::Raw),
    ]
}

fn run(bench: &mut Bench, step: &Step) -> Result<u64, u32> {
    match step {
        Step::Add(name, by) => add(bench, name, *by),
        Step::Reset(name) => reset(bench, name),
        Step::Get(name) => get(bench, name),
        Step::Raw(bytes) => decoded(bench.command(ADD, bytes), |reply: AddReply| reply.total),
    }
}

/// Groups are the one thing that the header does not read.
fn has_group(step: &Step) -> bool {
    matches!(step, Step::Raw(bytes) if bytes.iter().any(|byte| byte & 7 == 3 || byte & 7 == 4))
}

proptest! {
    // Each step is a call of the sandbox, twice.
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The same outcomes, and the same state byte by byte.
    #[test]
    fn both_do_the_same(steps in vec(step(), 0..30)) {
        let [mut c, mut rust] = both();
        for step in steps.iter().filter(|step| !has_group(step)) {
            prop_assert_eq!(run(&mut c, step), run(&mut rust, step), "{:?}", step);
            prop_assert_eq!(c.pairs(), rust.pairs(), "{:?}", step);
        }
    }
}
