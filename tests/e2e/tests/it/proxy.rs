//! The proxy that other tests break networks with: it does what it says.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use quorate_e2e::proxy::{Done, Fault, Flow, Proxy};
use quorate_e2e::wait;

/// A proxy, and the listener that it leads to.
struct Pair {
    proxy: Proxy,
    listener: TcpListener,
}

impl Pair {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { proxy: Proxy::to(&listener.local_addr().unwrap().to_string()), listener }
    }

    fn connect(&self) -> TcpStream {
        patient(TcpStream::connect(self.proxy.address()).unwrap())
    }

    /// Both ends of a connection.
    fn connected(&self) -> (TcpStream, TcpStream) {
        let near = self.connect();
        (near, patient(self.listener.accept().unwrap().0))
    }

    async fn has_done(&self, wanted: impl Fn(Done) -> bool) {
        wait::eventually("what the proxy does", wait::LONG, async || match self.proxy.done() {
            done if wanted(done) => Ok(()),
            done => Err(format!("{done:?}")),
        })
        .await;
    }
}

/// A test fails that waits in vain.
fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(wait::LONG)).unwrap();
    stream
}

fn sends(from: &mut TcpStream, to: &mut TcpStream, text: &str) {
    from.write_all(text.as_bytes()).unwrap();
    arrives(to, text);
}

fn arrives(to: &mut TcpStream, text: &str) {
    let mut found = vec![0; text.len()];
    to.read_exact(&mut found).unwrap();
    assert_eq!(String::from_utf8(found).unwrap(), text);
}

fn is_reset(mut end: TcpStream) {
    let error = end.read(&mut [0]).expect_err("neither bytes nor an orderly end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_or_late_arrives_whole_and_in_order() {
    let pair = Pair::new();
    let (mut near, mut far) = pair.connected();
    sends(&mut near, &mut far, "question");
    sends(&mut far, &mut near, "answer");

    pair.proxy.set(Fault::HOLD);
    near.write_all(b"one, ").unwrap();
    near.write_all(b"two, ").unwrap();
    pair.has_done(|done| done.held == 10).await;
    pair.proxy.set(Fault::NONE);
    near.write_all(b"three").unwrap();
    arrives(&mut far, "one, two, three");
    let carried = "questionanswerone, two, three".len() as u64;
    pair.has_done(|done| done == Done { held: 10, carried, ..Done::default() }).await;

    let delay = Duration::from_millis(50);
    pair.proxy.set(Fault::both(Flow::Delay(delay)));
    let begun = Instant::now();
    sends(&mut near, &mut far, "late");
    assert!(begun.elapsed() >= delay);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_is_wrong_in_each_stretch_of_so_many_bytes_and_nothing_else() {
    let pair = Pair::new();
    let (mut near, mut far) = pair.connected();
    pair.proxy.set(Fault::both(Flow::Flip(4)));
    near.write_all(&[0; 12]).unwrap();
    let mut found = [0; 12];
    far.read_exact(&mut found).unwrap();
    assert_eq!(found, [0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 4, 0]);
    assert_eq!(pair.proxy.done().flipped, 3);
    pair.proxy.set(Fault::NONE);
    sends(&mut far, &mut near, "as it was said");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_has_lost_bytes_is_reset_when_its_fault_ends_and_others_go_on() {
    let pair = Pair::new();
    let (mut near, mut far) = pair.connected();
    let (mut idle, mut far_idle) = pair.connected();
    pair.proxy.set(Fault::NO_REPLIES);
    far.write_all(b"lost").unwrap();
    pair.has_done(|done| done.swallowed == 4).await;
    sends(&mut near, &mut far, "the other way");
    pair.proxy.set(Fault::NONE);
    is_reset(near);
    is_reset(far);
    sends(&mut idle, &mut far_idle, "still there");

    // Half open: the end that is left believes in the connection as long as this lasts.
    pair.proxy.set(Fault::BLACK_HOLE);
    drop(far_idle);
    idle.write_all(b"lost").unwrap();
    pair.has_done(|done| done.swallowed == 8).await;
    // A new one leads nowhere.
    let mut new = pair.connect();
    new.write_all(b"lost").unwrap();
    pair.has_done(|done| done.swallowed == 12).await;
    pair.listener.set_nonblocking(true).unwrap();
    assert_eq!(pair.listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    pair.proxy.set(Fault::NONE);
    is_reset(idle);
    is_reset(new);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_reset_as_long_as_they_are_to_be_or_nobody_listens() {
    let pair = Pair::new();
    let (near, far) = pair.connected();
    pair.proxy.set(Fault::Reset);
    is_reset(near);
    is_reset(far);
    is_reset(pair.connect());
    pair.proxy.set(Fault::NONE);
    let (mut near, mut far) = pair.connected();
    sends(&mut near, &mut far, "again");
    drop(far);
    assert_eq!(near.read(&mut [0]).unwrap(), 0, "an orderly end stays one");

    let Pair { proxy, listener } = pair;
    let address = listener.local_addr().unwrap();
    drop(listener);
    is_reset(patient(TcpStream::connect(proxy.address()).unwrap()));
    let pair = Pair { proxy, listener: TcpListener::bind(address).unwrap() };
    let (mut near, mut far) = pair.connected();
    sends(&mut near, &mut far, "after a restart");
}
