//! How packets get from node to node, or do not.

use super::process::Packet;
use super::{Cluster, Event};
use crate::fault::Kind;

impl Cluster {
    /// Sends a packet, as far as the network lets it.
    pub(super) fn transmit(&mut self, from: u32, to: u32, packet: Packet) {
        use crate::net::Fate;
        let fate = match packet {
            Packet::Report(..) => self.net.fate_apart(self.now, from, to),
            _ => self.net.fate(self.now, from, to),
        };
        match fate {
            Fate::Cut => self.not_delivered(from, &packet),
            Fate::Lost => self.ledger.fire(Kind::Loss, 0),
            Fate::Held => self.held.push((from, to, packet)),
            Fate::Arrives(arrival) => {
                if arrival.is_reordered {
                    self.ledger.fire(Kind::Reorder, 0);
                }
                if arrival.is_delayed {
                    self.ledger.fire(Kind::Delay, 0);
                }
                if let Some(again_at) = arrival.again_at
                    && packet.may_come_twice()
                {
                    self.ledger.fire(Kind::Duplicate, 0);
                    let again = Event::Arrive(from, to, Box::new(packet.clone()));
                    self.schedule(again_at, again);
                }
                self.schedule(arrival.at, Event::Arrive(from, to, Box::new(packet)));
            }
        }
    }

    /// Sometimes a sender notices, as when a connection is refused.
    fn not_delivered(&mut self, from: u32, packet: &Packet) {
        let Packet::Raft(member, ..) = packet else { return };
        let notices = self.rng.u32(0..4) == 0;
        if let Some(process) = &mut self.node(from).process
            && notices
        {
            process.unreachable.push(*member);
        }
    }
}
