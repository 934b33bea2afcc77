//! A network that can be made to fail: a proxy in user space between two ends of TCP.
//!
//! It speaks TCP only, and so knows nothing of what it carries. Bytes that were swallowed are
//! missing from their stream for ever: a connection that has lost some is reset as soon as its
//! fault ends, as one is whose path has forgotten it. Those that lost nothing go on.
//!
//! The proxy listens for as long as it lives, whether the end that it leads to does or not.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

/// What waits in one direction of a connection; the sender of more is made to wait.
const HELD_BYTES_MAX: usize = 8 * 1024 * 1024;
const READ_BYTES: usize = 64 * 1024;

/// What becomes of bytes in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// They arrive.
    Pass,
    /// They arrive later, by so much at the most: what comes while others wait goes with them.
    Delay(Duration),
    /// They wait, up to some MiB, and arrive at once when this ends.
    Hold,
    /// They are gone, and neither end is told.
    Swallow,
    /// They arrive, and one bit is wrong in each stretch of so many bytes.
    Flip(usize),
}

/// What a proxy does to its connections, those that are open and those to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They are reset.
    Reset,
    /// They are open, and carry bytes in two directions.
    Open {
        /// From the end that connects.
        requests: Flow,
        /// To the end that connects.
        replies: Flow,
    },
}

impl Fault {
    /// No fault.
    pub const NONE: Self = Self::both(Flow::Pass);
    /// All bytes are swallowed: each end believes in a connection to a peer that is silent.
    pub const BLACK_HOLE: Self = Self::both(Flow::Swallow);
    /// What is asked arrives, and no answer does.
    pub const NO_REPLIES: Self = Self::Open { requests: Flow::Pass, replies: Flow::Swallow };
    /// Nothing that is asked arrives; an answer would.
    pub const NO_REQUESTS: Self = Self::Open { requests: Flow::Swallow, replies: Flow::Pass };
    /// All bytes wait.
    pub const HOLD: Self = Self::both(Flow::Hold);

    /// The same in both directions.
    pub const fn both(flow: Flow) -> Self {
        Self::Open { requests: flow, replies: flow }
    }
}

/// What a proxy has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Bytes that it swallowed.
    pub swallowed: u64,
    /// Bytes that it held back for a while.
    pub held: u64,
    /// Connections that it reset.
    pub reset: u64,
    /// Bits that it changed.
    pub flipped: u64,
    /// Bytes that have arrived.
    pub carried: u64,
}

#[derive(Debug, Default)]
struct Counters {
    swallowed: AtomicU64,
    held: AtomicU64,
    reset: AtomicU64,
    flipped: AtomicU64,
    carried: AtomicU64,
}

/// A proxy that leads to one address. Dropping it ends its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    counters: Arc<Counters>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy, without a fault. Must be called within a runtime.
    pub fn to(target: &str) -> Self {
        let listen = || -> io::Result<(TcpListener, SocketAddr)> {
            let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((TcpListener::from_std(listener)?, address))
        };
        let (listener, address) = listen().expect("any port will do");
        let (fault, faults) = watch::channel(Fault::NONE);
        let counters = Arc::<Counters>::default();
        let link = Link { target: target.into(), faults, counters: Arc::clone(&counters) };
        let task = tokio::spawn(accept(listener, link));
        Self { address, fault, counters, task }
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Does this to all connections, from now on.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// What it has done so far.
    pub fn done(&self) -> Done {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { swallowed, held, reset, flipped, carried } = &*self.counters;
        Done {
            swallowed: of(swallowed),
            held: of(held),
            reset: of(reset),
            flipped: of(flipped),
            carried: of(carried),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What each connection of a proxy knows.
#[derive(Clone)]
struct Link {
    target: Arc<str>,
    faults: watch::Receiver<Fault>,
    counters: Arc<Counters>,
}

/// Connections end with this task, which owns theirs.
async fn accept(listener: TcpListener, link: Link) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (near, _) = accepted.expect("a test has files left to open");
                drop(connections.spawn(link.clone().serve(near)));
            }
            Some(ended) = connections.join_next() => ended.expect("a connection does not panic"),
        }
    }
}

/// How a connection comes to its end.
#[derive(Clone, Copy)]
enum End {
    /// As one of its ends wished.
    Closed,
    /// By the proxy.
    Reset,
}

impl Link {
    async fn serve(mut self, near: TcpStream) {
        let fault = *self.faults.borrow_and_update();
        let end = match fault {
            Fault::Reset => End::Reset,
            // Who opens a connection speaks first, so nobody there has heard of this one.
            Fault::Open { requests: Flow::Swallow, .. } => self.swallow(&near).await,
            Fault::Open { .. } => match TcpStream::connect(&*self.target).await {
                Ok(far) => return self.carry(near, far).await,
                Err(_) => End::Reset,
            },
        };
        self.end(end, &[&near]);
    }

    /// Swallows all that comes, until this fault ends.
    async fn swallow(&mut self, near: &TcpStream) -> End {
        let mut chunk = BytesMut::zeroed(READ_BYTES);
        let mut is_open = true;
        loop {
            tokio::select! {
                _ = self.faults.changed() => return End::Reset,
                read = read(near, &mut chunk), if is_open => match read {
                    Some(bytes) => add(&self.counters.swallowed, bytes),
                    None => is_open = false,
                },
            }
        }
    }

    async fn carry(self, near: TcpStream, far: TcpStream) {
        for end in [&near, &far] {
            // Without it, it would be slower, not wrong.
            drop(end.set_nodelay(true));
        }
        // In either direction.
        let lost = AtomicBool::new(false);
        let requests = self.clone().pump(&near, &far, |flows| flows, &lost);
        let replies = self.clone().pump(&far, &near, |(asked, told)| (told, asked), &lost);
        let end = tokio::select! {
            end = requests => end,
            end = replies => end,
        };
        self.end(end, &[&near, &far]);
    }

    /// Carries the bytes of one direction; `order` puts what becomes of it before the other.
    async fn pump(
        mut self,
        from: &TcpStream,
        to: &TcpStream,
        order: fn((Flow, Flow)) -> (Flow, Flow),
        lost: &AtomicBool,
    ) -> End {
        let mut chunk = BytesMut::zeroed(READ_BYTES);
        let mut fresh = 0;
        let mut waiting = BytesMut::new();
        let mut due = Instant::now();
        let (mut is_open, mut has_lost, mut read_in_all) = (true, false, 0);
        loop {
            // What was just read was perhaps sent because of this fault: it is looked at only now.
            let fault = *self.faults.borrow_and_update();
            let Fault::Open { requests, replies } = fault else { return End::Reset };
            let (flow, other) = order((requests, replies));
            match flow {
                Flow::Delay(delay) if waiting.is_empty() => due = Instant::now() + delay,
                Flow::Hold => add(&self.counters.held, fresh),
                Flow::Flip(every) => {
                    let flipped = flip(&mut chunk[..fresh], read_in_all, every);
                    add(&self.counters.flipped, flipped);
                }
                Flow::Pass | Flow::Delay(_) | Flow::Swallow => {}
            }
            read_in_all += fresh;
            waiting.extend_from_slice(&chunk[..mem::take(&mut fresh)]);
            if flow == Flow::Swallow {
                if !waiting.is_empty() {
                    has_lost = true;
                    lost.store(true, Ordering::Relaxed);
                }
                add(&self.counters.swallowed, waiting.len());
                waiting.clear();
            } else if has_lost || (other != Flow::Swallow && lost.load(Ordering::Relaxed)) {
                return End::Reset;
            }
            let arrives = matches!(flow, Flow::Pass | Flow::Delay(_) | Flow::Flip(_));
            // An end that is gone is heard of no sooner than what it said before.
            if arrives && !is_open && waiting.is_empty() {
                return End::Closed;
            }
            tokio::select! {
                changed = self.faults.changed() => if changed.is_err() { return End::Reset },
                read = read(from, &mut chunk), if is_open && waiting.len() < HELD_BYTES_MAX => {
                    match read {
                        Some(bytes) => fresh = bytes,
                        None => is_open = false,
                    }
                }
                written = write(to, &waiting, due), if arrives && !waiting.is_empty() => {
                    match written {
                        Some(bytes) => {
                            add(&self.counters.carried, bytes);
                            waiting.advance(bytes);
                        }
                        None => return End::Reset,
                    }
                }
            }
        }
    }

    fn end(&self, end: End, ends: &[&TcpStream]) {
        if matches!(end, End::Reset) {
            add(&self.counters.reset, 1);
            for end in ends {
                // It then ends by a reset; one that fails has ended already.
                drop(end.set_zero_linger());
            }
        }
    }
}

/// Changes a bit of one byte in each stretch of `every` of a stream, of which these are the bytes
/// behind the first `before`; another bit each time.
fn flip(bytes: &mut [u8], before: usize, every: usize) -> usize {
    let mut flipped = 0;
    for (at, byte) in (before..).zip(bytes) {
        if at % every == every / 2 {
            *byte ^= 1 << (at / every % 8);
            flipped += 1;
        }
    }
    flipped
}

/// The next bytes; `None` when there will be no more.
async fn read(from: &TcpStream, chunk: &mut [u8]) -> Option<usize> {
    loop {
        from.readable().await.ok()?;
        match from.try_read(chunk) {
            Ok(0) => return None,
            Ok(bytes) => return Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
    }
}

/// Writes some of the bytes, when they are due; `None` when nobody takes them any more.
async fn write(to: &TcpStream, bytes: &[u8], due: Instant) -> Option<usize> {
    tokio::time::sleep_until(due).await;
    loop {
        to.writable().await.ok()?;
        match to.try_write(bytes) {
            Ok(bytes) => return Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
    }
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}
