//! What a plugin must not do, a command for each: `quorate check --dynamic` has to find them all,
//! and nothing to say about the one that is sound.

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use quorate_sdk::{Command, Map, Query, Status};

quorate_sdk::plugin!(impl Hazards for Plugin);

/// The state machine.
#[derive(Debug)]
pub struct Plugin;

const VALUES: Map<String, String> = Map::new("values");

static CALLS: AtomicUsize = AtomicUsize::new(0);
static LENGTH: AtomicUsize = AtomicUsize::new(usize::MAX);

impl Hazards for Plugin {
    fn sound(cx: &mut Command<'_>, request: Request) -> Result<Reply, Status> {
        let mut letters = BTreeMap::new();
        for letter in request.name.chars() {
            *letters.entry(letter).or_insert(0) += 1;
        }
        let before = VALUES.get(cx, &request.name).map_or(0, |value| value.len() % 7);
        let value = format!("{letters:?} {before} {} {}", cx.time_ms(), cx.seed());
        Ok(keep(cx, &request, value))
    }

    fn address(cx: &mut Command<'_>, request: Request) -> Result<Reply, Status> {
        let value = format!("{:p}", request.name.as_ptr());
        Ok(keep(cx, &request, value))
    }

    fn hash_order(cx: &mut Command<'_>, request: Request) -> Result<Reply, Status> {
        let table: HashMap<_, _> = (0..16).map(|number| (number, ())).collect();
        let value = format!("{:?}", table.keys());
        Ok(keep(cx, &request, value))
    }

    fn counted(cx: &mut Command<'_>, request: Request) -> Result<Reply, Status> {
        let value = CALLS.fetch_add(1, Ordering::Relaxed).to_string();
        Ok(keep(cx, &request, value))
    }

    fn allocated(cx: &mut Command<'_>, request: Request) -> Result<Reply, Status> {
        // What earlier calls have left decides where this one lies.
        let scratch = black_box(vec![1_u8; 40]);
        let line = scratch.leak().as_ptr().addr() / 64;
        let value = if line.is_multiple_of(2) { "even" } else { "odd" };
        Ok(keep(cx, &request, value.to_owned()))
    }

    fn cached(cx: &mut Command<'_>, request: Request) -> Result<Reply, Status> {
        if LENGTH.load(Ordering::Relaxed) == usize::MAX {
            let length = VALUES.get(cx, &request.name).map_or(0, |value| value.len());
            LENGTH.store(length, Ordering::Relaxed);
        }
        let value = "x".repeat(LENGTH.fetch_add(1, Ordering::Relaxed) % 100);
        Ok(keep(cx, &request, value))
    }

    fn replied(cx: &mut Command<'_>, request: Request) -> Result<Reply, Status> {
        let value = format!("{:p}", request.name.as_ptr());
        drop(keep(cx, &request, "the same".to_owned()));
        Ok(Reply { value })
    }

    fn overflow(cx: &mut Command<'_>, request: Request) -> Result<Reply, Status> {
        let count = request.name.chars().fold(0_u8, |count, _| count + 1);
        Ok(keep(cx, &request, count.to_string()))
    }

    fn get(cx: &Query<'_>, request: Request) -> Result<Reply, Status> {
        Ok(Reply { value: VALUES.get(cx, &request.name).unwrap_or_default() })
    }
}

fn keep(cx: &mut Command<'_>, request: &Request, value: String) -> Reply {
    VALUES.insert(cx, &request.name, &value);
    Reply { value }
}
