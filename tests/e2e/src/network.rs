//! What nodes reach each other by: a proxy for each of them towards each other one.
//!
//! A node's requests and messages to a peer, and the peer's replies, take the proxy from that node
//! to that peer; what the peer has to say of its own accord takes the one back.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::proxy::{Done, Fault, Flow, Proxy};

/// The proxies between all nodes, which are numbered from 1.
#[derive(Debug)]
pub struct Network {
    /// By the node that connects, and the one that it connects to.
    proxies: BTreeMap<(u64, u64), Proxy>,
}

impl Network {
    /// A network without a fault, of nodes that listen at these addresses for their peers. Must be
    /// called within a runtime.
    pub fn new(addresses: &[String]) -> Self {
        let mut proxies = BTreeMap::new();
        for from in 1..=addresses.len() as u64 {
            for (to, address) in (1..).zip(addresses).filter(|(to, _)| *to != from) {
                proxies.insert((from, to), Proxy::to(address));
            }
        }
        Self { proxies }
    }

    /// Where a node finds another one.
    pub fn address(&self, from: u64, to: u64) -> String {
        self.proxy(from, to).address()
    }

    /// Does this to all connections from one node to another.
    pub fn set(&self, from: u64, to: u64, fault: Fault) {
        self.proxy(from, to).set(fault);
    }

    /// Does this to all connections between the nodes of one side and those of another.
    pub fn between(&self, left: &[u64], right: &[u64], fault: Fault) {
        for left in left {
            for right in right {
                self.set(*left, *right, fault);
                self.set(*right, *left, fault);
            }
        }
    }

    /// Breaks all connections between two sides.
    pub fn partition(&self, left: &[u64], right: &[u64]) {
        self.between(left, right, Fault::Reset);
    }

    /// From now on, `to` hears `from`, and `from` hears nothing of `to`.
    pub fn one_way(&self, from: u64, to: u64) {
        self.set(from, to, Fault::NO_REPLIES);
        self.set(to, from, Fault::NO_REQUESTS);
    }

    /// All other nodes reach each other no more, but each of them still reaches this one.
    pub fn bridge(&self, bridge: u64) {
        self.set_where(|from, to| from != bridge && to != bridge, Fault::Reset);
    }

    /// All that is said arrives so much later.
    pub fn delay(&self, delay: Duration) {
        self.set_where(|_, _| true, Fault::both(Flow::Delay(delay)));
    }

    /// One bit is wrong in each stretch of so many bytes, whoever says them.
    pub fn flip(&self, every: usize) {
        self.set_where(|_, _| true, Fault::both(Flow::Flip(every)));
    }

    /// All nodes reach each other again.
    pub fn heal(&self) {
        self.set_where(|_, _| true, Fault::NONE);
    }

    /// What was done so far to all connections between a node and the others.
    pub fn done(&self, node: u64) -> Done {
        let mut sum = Done::default();
        let of = |pair: &(u64, u64)| pair.0 == node || pair.1 == node;
        for (_, proxy) in self.proxies.iter().filter(|(pair, _)| of(pair)) {
            let done = proxy.done();
            sum.swallowed += done.swallowed;
            sum.held += done.held;
            sum.reset += done.reset;
            sum.flipped += done.flipped;
            sum.carried += done.carried;
        }
        sum
    }

    /// Bytes that have arrived by the proxy from one node to another, in both directions.
    pub fn carried(&self, from: u64, to: u64) -> u64 {
        self.proxy(from, to).done().carried
    }

    fn set_where(&self, is_meant: impl Fn(u64, u64) -> bool, fault: Fault) {
        for (_, proxy) in self.proxies.iter().filter(|((from, to), _)| is_meant(*from, *to)) {
            proxy.set(fault);
        }
    }

    fn proxy(&self, from: u64, to: u64) -> &Proxy {
        let proxy = self.proxies.get(&(from, to));
        proxy.unwrap_or_else(|| panic!("nothing leads from node {from} to node {to}"))
    }
}
