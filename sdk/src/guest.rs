//! The crossing to the host: its imports in safe clothes, and the loop that pulls calls. Beside the
//! allocator, the one module with unsafe code.
#![expect(unsafe_code, reason = "imports are foreign functions")]

use std::mem::MaybeUninit;
use std::ops::Range;
use std::panic::{self, PanicHookInfo};

use quorate_abi::{ABSENT, Frame, NO_MORE, Verdict};

use crate::Status;
use crate::plugin::{self, Plugin};
use crate::store::{Store, VALUE_BYTES};

/// Room for a frame at first. Most fit, and an instance is as cheap as the memory it touches.
const FRAME_BYTES: usize = 4 * 1024;

/// Runs commands until there are no more.
pub fn apply<P: Plugin>() {
    serve(|frame| plugin::command::<P>(&Imports, frame));
}

/// Runs queries until there are no more.
pub fn query<P: Plugin>() {
    serve(|frame| plugin::query::<P>(&Imports, frame));
}

/// Pulls calls. Asking for the next one hands over what became of the previous one.
fn serve(call: impl Fn(&Frame<'_>) -> Result<Vec<u8>, Status>) {
    panic::set_hook(Box::new(report));
    let mut buf = Vec::with_capacity(FRAME_BYTES);
    let (mut verdict, mut reply) = (Verdict::None, Vec::new());
    loop {
        buf.clear();
        let answer = next(verdict, &reply, buf.spare_capacity_mut());
        if answer == NO_MORE {
            return;
        }
        let len = length(answer);
        if len > buf.capacity() {
            // The previous call is settled; only its successor did not fit.
            buf.reserve_exact(len);
            (verdict, reply) = (Verdict::None, Vec::new());
            continue;
        }
        // SAFETY: the host has written this frame.
        unsafe { buf.set_len(len) }
        let frame = Frame::decode(&buf).expect("the host's frames are well-formed");
        (verdict, reply) = match call(&frame) {
            Ok(reply) => (Verdict::Reply, reply),
            Err(status) => (Verdict::Refused, status.encode()),
        };
    }
}

/// Tells the host why the guest is about to trap.
fn report(panic: &PanicHookInfo<'_>) {
    let text = panic.payload_as_str().unwrap_or("panic");
    let (file, line) = panic.location().map_or(("?", 0), |at| (at.file(), at.line()));
    let text = format!("{text} ({file})");
    // SAFETY: pointer and length are those of one live string.
    unsafe { host::abort(text.as_ptr(), text.len(), line) }
}

/// Writes a line to the host's log.
pub(crate) fn log(level: u32, text: &str) {
    // SAFETY: pointer and length are those of one live string.
    unsafe { host::log(level, text.as_ptr(), text.len()) }
}

fn next(verdict: Verdict, reply: &[u8], buf: &mut [MaybeUninit<u8>]) -> i64 {
    let (out, cap) = (buf.as_mut_ptr().cast(), buf.len());
    // SAFETY: `reply` is live, and `out` has room for the `cap` bytes the host may write.
    unsafe { host::next(verdict as u32, reply.as_ptr(), reply.len(), out, cap) }
}

/// The state behind the imports.
pub(crate) struct Imports;

impl Store for Imports {
    fn read<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let get = |room: &mut [MaybeUninit<u8>]| {
            // SAFETY: `key` is live, and the host writes no more than there is room for.
            unsafe { host::kv_get(key.as_ptr(), key.len(), room.as_mut_ptr().cast(), room.len()) }
        };
        let mut room = [MaybeUninit::uninit(); VALUE_BYTES];
        let answer = get(&mut room);
        if answer == ABSENT {
            return None;
        }
        let len = length(answer);
        if len <= room.len() {
            // SAFETY: the host has written this value.
            return Some(read(unsafe { room[..len].assume_init_ref() }));
        }
        let mut value = Vec::with_capacity(len);
        assert_eq!(get(value.spare_capacity_mut()), answer, "nobody else writes meanwhile");
        // SAFETY: the host has written this value.
        unsafe { value.set_len(len) }
        Some(read(&value))
    }

    fn contains(&self, key: &[u8]) -> bool {
        // SAFETY: `key` is live, and the host writes nothing where there is no room.
        unsafe { host::kv_get(key.as_ptr(), key.len(), [].as_mut_ptr(), 0) != ABSENT }
    }

    fn put(&self, key: &[u8], value: &[u8]) {
        // SAFETY: both slices are live.
        unsafe { host::kv_put(key.as_ptr(), key.len(), value.as_ptr(), value.len()) }
    }

    fn delete(&self, key: &[u8]) -> bool {
        // SAFETY: the slice is live.
        unsafe { host::kv_delete(key.as_ptr(), key.len()) != 0 }
    }

    fn delete_range(&self, keys: Range<&[u8]>) -> u64 {
        let (lo, hi) = (keys.start, keys.end);
        // SAFETY: both slices are live.
        let count = unsafe { host::kv_delete_range(lo.as_ptr(), lo.len(), hi.as_ptr(), hi.len()) };
        count.cast_unsigned()
    }

    fn scan(&self, keys: Range<&[u8]>, flags: u32, limit: u32, page: &mut Vec<u8>) {
        let (lo, lo_len) = (keys.start.as_ptr(), keys.start.len());
        let (hi, hi_len) = (keys.end.as_ptr(), keys.end.len());
        let found = fill(page, |out, cap| {
            // SAFETY: both slices are live, and `fill` passes a buffer with room for `cap` bytes.
            unsafe { host::kv_scan(lo, lo_len, hi, hi_len, flags, limit, out, cap) }
        });
        assert!(found, "a scan always has a page");
    }
}

/// Lets the host fill `buf`, with as much room as it asks for. `false`: there is nothing.
fn fill(buf: &mut Vec<u8>, call: impl Fn(*mut u8, usize) -> i64) -> bool {
    loop {
        let answer = call(buf.as_mut_ptr(), buf.len());
        if answer == ABSENT {
            return false;
        }
        let len = length(answer);
        if len <= buf.len() {
            buf.truncate(len);
            return true;
        }
        buf.resize(len, 0);
    }
}

fn length(answer: i64) -> usize {
    usize::try_from(answer).expect("the host answers with lengths")
}

/// As in [`quorate_abi::import`].
mod host {
    #[link(wasm_import_module = "quorate_v1")]
    unsafe extern "C" {
        pub(super) fn next(
            verdict: u32,
            reply: *const u8,
            reply_len: usize,
            buf: *mut u8,
            cap: usize,
        ) -> i64;
        pub(super) fn kv_get(key: *const u8, key_len: usize, buf: *mut u8, cap: usize) -> i64;
        pub(super) fn kv_put(key: *const u8, key_len: usize, value: *const u8, value_len: usize);
        pub(super) fn kv_delete(key: *const u8, key_len: usize) -> i64;
        pub(super) fn kv_delete_range(
            lo: *const u8,
            lo_len: usize,
            hi: *const u8,
            hi_len: usize,
        ) -> i64;
        pub(super) fn kv_scan(
            lo: *const u8,
            lo_len: usize,
            hi: *const u8,
            hi_len: usize,
            flags: u32,
            limit: u32,
            buf: *mut u8,
            cap: usize,
        ) -> i64;
        pub(super) fn log(level: u32, text: *const u8, text_len: usize);
        pub(super) fn abort(text: *const u8, text_len: usize, line: u32) -> !;
    }
}
