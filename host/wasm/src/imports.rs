//! What a guest can call. Every pointer, length and number comes from a guest that may be hostile:
//! what lies outside of its memory, or outside of the ABI, ends the call with a trap.

use quorate_abi::{self as abi, IMPORT_MODULE, Verdict, import, page, scan};
use quorate_core::limits;
use quorate_core::outcome::Rejection;
use quorate_core::state::Range;
use std::ops::ControlFlow;
use wasmtime::{Caller, Engine, Linker};

use crate::fuel;
use crate::guest::{Guest, cut, trap};
use crate::trap::Halt;

/// Bytes of a guest's memory, as the guest says.
#[derive(Clone, Copy)]
struct Span {
    at: u32,
    len: u32,
}

impl Span {
    fn new(at: u32, len: u32) -> Self {
        Self { at, len }
    }

    fn range(self) -> std::ops::Range<usize> {
        self.at as usize..self.at as usize + self.len as usize
    }

    fn of(self, memory: &[u8]) -> Result<&[u8], Halt> {
        memory.get(self.range()).map_or_else(|| trap(OUT_OF_BOUNDS), Ok)
    }

    fn of_mut(self, memory: &mut [u8]) -> Result<&mut [u8], Halt> {
        memory.get_mut(self.range()).map_or_else(|| trap(OUT_OF_BOUNDS), Ok)
    }

    /// A key, whose bytes go on the bill.
    fn key<'a>(self, memory: &'a [u8], guest: &mut Guest) -> Result<&'a [u8], Halt> {
        let key = self.of(memory)?;
        Rejection::check("a key", key.len(), limits::KEY_BYTES_MAX)?;
        guest.owe_bytes(key.len());
        Ok(key)
    }

    /// An end of a range. What follows a key of full length directly is one byte longer.
    fn bound<'a>(self, memory: &'a [u8], guest: &mut Guest) -> Result<&'a [u8], Halt> {
        let bound = self.of(memory)?;
        Rejection::check("the end of a range", bound.len(), limits::KEY_BYTES_MAX + 1)?;
        guest.owe_bytes(bound.len());
        Ok(bound)
    }

    /// A text of at most so many bytes; what is longer is cut.
    fn text(self, memory: &[u8], bytes_max: usize) -> Result<String, Halt> {
        let bytes = self.of(memory)?;
        // Room for the character at the limit to be whole, so that it is `cut` that drops it.
        let bytes = bytes.get(..bytes_max + 4).unwrap_or(bytes);
        Ok(cut(&String::from_utf8_lossy(bytes), bytes_max).to_owned())
    }
}

const OUT_OF_BOUNDS: &str = "it passed a pointer out of bounds";

type Host<'a> = Caller<'a, Guest>;

/// Serves one call of a guest: hands out its memory and data, then lets it pay. What one call does
/// is bounded by the limits, so it can be paid for afterwards.
fn serve<T>(
    mut host: Host<'_>,
    work: impl FnOnce(&mut [u8], &mut Guest) -> Result<T, Halt>,
) -> wasmtime::Result<T> {
    let memory = host.data().memory().map_err(Halt::from)?;
    let (bytes, guest) = memory.data_and_store_mut(&mut host);
    let result = work(bytes, guest)?;
    fuel::settle(&mut host)?;
    Ok(result)
}

/// The host's side of the ABI.
#[rustfmt::skip]
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    linker
        .func_wrap(IMPORT_MODULE, import::NEXT,
            |host: Host<'_>, verdict: u32, at: u32, len: u32, buf: u32, cap: u32| {
                // Before the next call gets its own.
                let left = if host.data().is_metered() { host.get_fuel().ok() } else { None };
                serve(host, |m, g| {
                    g.meter().end(left);
                    next(m, g, verdict, [Span::new(at, len), Span::new(buf, cap)])
                })
            })?
        .func_wrap(IMPORT_MODULE, import::KV_GET,
            |host: Host<'_>, key: u32, len: u32, buf: u32, cap: u32|
            serve(host, |m, g| kv_get(m, g, Span::new(key, len), Span::new(buf, cap))))?
        .func_wrap(IMPORT_MODULE, import::KV_PUT,
            |host: Host<'_>, key: u32, key_len: u32, value: u32, len: u32|
            serve(host, |m, g| kv_put(m, g, Span::new(key, key_len), Span::new(value, len))))?
        .func_wrap(IMPORT_MODULE, import::KV_DELETE,
            |host: Host<'_>, key: u32, len: u32|
            serve(host, |m, g| kv_delete(m, g, Span::new(key, len))))?
        .func_wrap(IMPORT_MODULE, import::KV_DELETE_RANGE,
            |host: Host<'_>, lo: u32, lo_len: u32, hi: u32, len: u32|
            serve(host, |m, g| kv_delete_range(m, g, Span::new(lo, lo_len), Span::new(hi, len))))?
        .func_wrap(IMPORT_MODULE, import::KV_SCAN,
            |host: Host<'_>, lo: u32, lo_len: u32, hi: u32, hi_len: u32,
             flags: u32, limit: u32, buf: u32, cap: u32|
            serve(host, |m, g| kv_scan(m, g, &Scan {
                lo: Span::new(lo, lo_len), hi: Span::new(hi, hi_len),
                flags, limit, buf: Span::new(buf, cap),
            })))?
        .func_wrap(IMPORT_MODULE, import::LOG,
            |host: Host<'_>, level: u32, text: u32, len: u32|
            serve(host, |m, g| log(m, g, level, Span::new(text, len))))?
        .func_wrap(IMPORT_MODULE, import::ABORT,
            |host: Host<'_>, text: u32, len: u32, line: u32|
            serve(host, |m, _| abort(m, Span::new(text, len), line)))?;
    Ok(linker)
}

fn next(memory: &mut [u8], guest: &mut Guest, verdict: u32, spans: [Span; 2]) -> Result<i64, Halt> {
    let [reply, buf] = spans;
    let Some(verdict) = Verdict::from_u32(verdict) else {
        return trap(format!("it finished a call with verdict {verdict}, which does not exist"));
    };
    guest.owe(fuel::CALL);
    buf.of(memory)?;
    guest.finish(verdict, reply.of(memory)?)?;
    let len = guest.deliver(buf.of_mut(memory)?)?;
    Ok(len.map_or(abi::NO_MORE, length))
}

fn kv_get(memory: &mut [u8], guest: &mut Guest, key: Span, buf: Span) -> Result<i64, Halt> {
    guest.owe(fuel::STATE_CALL);
    let key = key.key(memory, guest)?;
    let value = guest.run()?.get(key)?;
    guest.meter().read(key.len() + value.as_ref().map_or(0, |value| value.len()));
    let buf = buf.of_mut(memory)?;
    let Some(value) = value else { return Ok(abi::ABSENT) };
    // Also one that does not fit was fetched.
    guest.owe_bytes(value.len());
    if let Some(buf) = buf.get_mut(..value.len()) {
        buf.copy_from_slice(&value);
    }
    Ok(length(value.len()))
}

fn kv_put(memory: &mut [u8], guest: &mut Guest, key: Span, value: Span) -> Result<(), Halt> {
    guest.owe(fuel::STATE_CALL);
    let key = key.key(memory, guest)?;
    let value = value.of(memory)?;
    // Checked before it is copied.
    Rejection::check("a value", value.len(), limits::VALUE_BYTES_MAX)?;
    guest.owe_bytes(value.len());
    guest.meter().wrote(key.len() + value.len());
    guest.run()?.put(key, value)?;
    Ok(())
}

fn kv_delete(memory: &mut [u8], guest: &mut Guest, key: Span) -> Result<i64, Halt> {
    guest.owe(fuel::STATE_CALL);
    let key = key.key(memory, guest)?;
    guest.meter().wrote(key.len());
    let existed = guest.run()?.delete(key)?;
    Ok(existed.into())
}

fn kv_delete_range(memory: &mut [u8], guest: &mut Guest, lo: Span, hi: Span) -> Result<i64, Halt> {
    guest.owe(fuel::STATE_CALL);
    let lo = lo.bound(memory, guest)?;
    let hi = hi.bound(memory, guest)?;
    guest.meter().wrote(lo.len() + hi.len());
    let count = guest.run()?.delete_range(lo, end(hi))?;
    guest.owe(count.saturating_mul(fuel::PAIR));
    Ok(i64::try_from(count).unwrap_or(i64::MAX))
}

/// An empty upper end stands for none.
fn end(hi: &[u8]) -> Option<&[u8]> {
    (!hi.is_empty()).then_some(hi)
}

/// What `kv_scan` takes.
struct Scan {
    lo: Span,
    hi: Span,
    flags: u32,
    limit: u32,
    buf: Span,
}

fn kv_scan(memory: &mut [u8], guest: &mut Guest, scan: &Scan) -> Result<i64, Halt> {
    if scan.flags & !scan::ALL != 0 {
        return trap(format!("it scanned with flags {:#x}, which do not exist", scan.flags));
    }
    guest.owe(fuel::STATE_CALL);
    // Copied, since the page goes to the memory they are in.
    let lo = scan.lo.bound(memory, guest)?.to_vec();
    let hi = scan.hi.bound(memory, guest)?.to_vec();
    let range = Range { lo: &lo, hi: end(&hi), reverse: scan.flags & scan::REVERSE != 0 };
    let keys_only = scan.flags & scan::KEYS_ONLY != 0;
    let mut page = Page::new(scan.buf.of_mut(memory)?, scan.limit);
    let (mut cost, mut bytes) = (0, lo.len() + hi.len());
    let deleted = guest.run()?.scan(range, &mut |key, value| {
        cost += fuel::PAIR + (key.len() + value.len()) as u64;
        bytes += key.len() + value.len();
        page.add(key, if keys_only { &[] } else { value })
    })?;
    let len = page.finish();
    guest.meter().read(bytes);
    guest.owe(cost + deleted * fuel::PAIR);
    Ok(length(len))
}

/// A page of pairs that is being written, see [`page`].
struct Page<'a> {
    buf: &'a mut [u8],
    len: usize,
    count: u32,
    count_max: u32,
    more: bool,
}

impl<'a> Page<'a> {
    /// An empty page of at most `limit` pairs; 0 stands for no limit.
    fn new(buf: &'a mut [u8], limit: u32) -> Self {
        let count_max = if limit == 0 { u32::MAX } else { limit };
        Self { buf, len: page::HEADER_BYTES, count: 0, count_max, more: false }
    }

    /// Adds a pair, or breaks when there is no room for it.
    fn add(&mut self, key: &[u8], value: &[u8]) -> ControlFlow<()> {
        let end = self.len + page::pair_bytes(key.len(), value.len());
        let room = self.buf.get_mut(self.len..end).filter(|_| self.count < self.count_max);
        let Some(pair) = room else {
            self.more = true;
            if self.count == 0 {
                // Not even one fits: this is how much it needs.
                self.len = end;
            }
            return ControlFlow::Break(());
        };
        let (header, pair) = pair.split_at_mut(page::PAIR_HEADER_BYTES);
        header[..4].copy_from_slice(&len_u32(key.len()).to_le_bytes());
        header[4..].copy_from_slice(&len_u32(value.len()).to_le_bytes());
        pair[..key.len()].copy_from_slice(key);
        pair[key.len()..].copy_from_slice(value);
        self.len = end;
        self.count += 1;
        ControlFlow::Continue(())
    }

    /// Completes the page; returns its length, which is over that of the buffer when it did not
    /// fit.
    fn finish(self) -> usize {
        if self.len <= self.buf.len() {
            self.buf[..4].copy_from_slice(&self.count.to_le_bytes());
            self.buf[4..8].copy_from_slice(&u32::from(self.more).to_le_bytes());
        }
        self.len
    }
}

fn log(memory: &mut [u8], guest: &mut Guest, level: u32, text: Span) -> Result<(), Halt> {
    guest.owe(fuel::LOG_LINE);
    let text = text.text(memory, limits::LOG_LINE_BYTES_MAX)?;
    match level {
        1 => tracing::error!(target: "plugin", "{text}"),
        2 => tracing::warn!(target: "plugin", "{text}"),
        3 => tracing::info!(target: "plugin", "{text}"),
        4 => tracing::debug!(target: "plugin", "{text}"),
        5 => tracing::trace!(target: "plugin", "{text}"),
        _ => return trap(format!("it logged at level {level}, which does not exist")),
    }
    Ok(())
}

fn abort(memory: &mut [u8], text: Span, line: u32) -> Result<(), Halt> {
    let text = text.text(memory, limits::STATUS_MESSAGE_BYTES_MAX)?;
    trap(format!("panicked at line {line}: {text}"))
}

fn length(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

fn len_u32(len: usize) -> u32 {
    u32::try_from(len).expect("keys and values are limited")
}
