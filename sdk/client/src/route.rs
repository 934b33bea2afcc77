//! Which node to connect to: the leader where it is known, else one after the other.

use std::collections::BTreeMap;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::error::ConnectError;

const CONNECT_WAIT_MAX: Duration = Duration::from_secs(1);
/// A node that hangs is noticed before most calls' time is over.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEPALIVE_WAIT_MAX: Duration = Duration::from_secs(2);
/// Before a node is tried after one that did not help; doubles up to the second number.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// The nodes of the cluster, as far as they are known.
#[derive(Debug)]
pub(crate) struct Route {
    /// As the caller named them.
    named: Vec<String>,
    /// The one that is next.
    turn: usize,
    /// Which node has which address, as they have said themselves.
    nodes: BTreeMap<u64, String>,
    /// Who is said to lead: asked before the others.
    leader: Option<String>,
    /// Connections that were made; they are made again as needed.
    channels: BTreeMap<String, Channel>,
    /// The address that was given out last.
    last: Option<String>,
    failures: u32,
}

impl Route {
    pub(crate) fn new(named: Vec<String>) -> Result<Self, ConnectError> {
        if named.is_empty() {
            return Err(ConnectError::NoNodes);
        }
        for node in &named {
            endpoint(node).ok_or_else(|| ConnectError::Address(node.clone()))?;
        }
        let (nodes, channels) = (BTreeMap::new(), BTreeMap::new());
        let (leader, last) = (None, None);
        Ok(Self { named, turn: 0, nodes, leader, channels, last, failures: 0 })
    }

    /// How many were named.
    pub(crate) fn named(&self) -> usize {
        self.named.len()
    }

    /// Where to connect to now.
    pub(crate) fn next(&mut self) -> (String, Channel) {
        let address = self.leader.take().unwrap_or_else(|| {
            let address = self.named[self.turn % self.named.len()].clone();
            self.turn += 1;
            address
        });
        let channel = self.channels.entry(address.clone()).or_insert_with(|| {
            endpoint(&address).expect("it was tried before it came here").connect_lazy()
        });
        self.last = Some(address.clone());
        (address, channel.clone())
    }

    /// A connection that was made last, for what any node can do.
    pub(crate) fn channel(&self) -> Option<Channel> {
        self.channels.get(self.last.as_ref()?).cloned()
    }

    /// That address is this node's.
    pub(crate) fn is_node(&mut self, address: String, node: u64) {
        self.nodes.insert(node, address);
    }

    /// A node says that another one leads. An address of the caller's own is better than what the
    /// node believes of itself.
    pub(crate) fn leads(&mut self, node: u64, address: &str) {
        let said = format!("http://{address}");
        let said = (!address.is_empty() && endpoint(&said).is_some()).then_some(said);
        self.leader = self.nodes.get(&node).cloned().or(said);
    }

    /// A node has helped.
    pub(crate) fn worked(&mut self) {
        self.failures = 0;
    }

    /// A node has not helped. How long to wait before the next: nothing the first time, then more
    /// and more, and never at the same moment as all other clients.
    pub(crate) fn failed(&mut self) -> Duration {
        self.failures += 1;
        let doublings = match self.failures {
            1 => return Duration::ZERO,
            failures => (failures - 2).min(16),
        };
        let pause = (PAUSE_MIN * (1 << doublings)).min(PAUSE_MAX);
        pause.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

fn endpoint(address: &str) -> Option<Endpoint> {
    let endpoint = Endpoint::from_shared(address.to_owned()).ok()?;
    endpoint.uri().authority()?;
    Some(
        endpoint
            .connect_timeout(CONNECT_WAIT_MAX)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_WAIT_MAX),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route() -> Route {
        Route::new(vec!["http://a:1".to_owned(), "http://b:2".to_owned()]).unwrap()
    }

    #[test]
    fn what_is_no_node_is_refused() {
        assert!(matches!(Route::new(Vec::new()), Err(ConnectError::NoNodes)));
        for wrong in ["", "/", "http://", "a b"] {
            let refused = Route::new(vec!["http://a:1".to_owned(), wrong.to_owned()]);
            assert!(matches!(refused, Err(ConnectError::Address(_))), "{wrong}");
        }
    }

    #[tokio::test]
    async fn the_leader_comes_first_and_then_one_after_the_other() {
        let mut route = route();
        let next = |route: &mut Route| route.next().0;
        assert_eq!(next(&mut route), "http://a:1");
        route.leads(7, "c:3");
        assert_eq!(next(&mut route), "http://c:3");
        assert_eq!(next(&mut route), "http://b:2", "the leader is gone, it seems");
        route.is_node("http://b:2".to_owned(), 7);
        route.leads(7, "c:3");
        assert_eq!(next(&mut route), "http://b:2", "as the caller knows it");
        route.leads(8, "");
        assert_eq!(next(&mut route), "http://a:1", "nobody knows where 8 is");
        assert_eq!(next(&mut route), "http://b:2");
    }

    #[test]
    fn pauses_grow_to_a_bound_and_begin_anew() {
        let mut route = route();
        assert_eq!(route.failed(), Duration::ZERO);
        let second = route.failed();
        assert!(second >= PAUSE_MIN / 2 && second <= PAUSE_MIN, "{second:?}");
        let longest = (0..40).map(|_| route.failed()).max().unwrap();
        assert!(longest > PAUSE_MAX / 2 && longest <= PAUSE_MAX, "{longest:?}");
        route.worked();
        assert_eq!(route.failed(), Duration::ZERO);
    }
}
