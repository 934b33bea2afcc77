//! How packets get from node to node, or do not.

use bytes::Bytes;
use quorate_core::canary::{self, Canary};

use super::process::Packet;
use super::{Cluster, Event};
use crate::fault::Kind;

/// A message behind its CRC-32C, as `quorate_proto::sealed` has it.
fn seal(message: &[u8]) -> Vec<u8> {
    [&crc32c::crc32c(message).to_le_bytes(), message].concat()
}

fn unseal(sealed: &[u8]) -> Option<Bytes> {
    let (crc, message) = sealed.split_first_chunk()?;
    let is_sound = u32::from_le_bytes(*crc) == crc32c::crc32c(message);
    let is_taken = is_sound || canary::is_planted(Canary::SealUnchecked);
    is_taken.then(|| Bytes::copy_from_slice(message))
}

impl Cluster {
    /// Sends a packet, as far as the network lets it.
    pub(super) fn transmit(&mut self, from: u32, to: u32, packet: Packet) {
        use crate::net::Fate;
        let Some(packet) = self.damaged(packet) else { return };
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

    /// What comes of a packet when bits flip on its way. Its checksum is looked at before anything
    /// else is, as between real nodes: what does not fit is not taken.
    fn damaged(&mut self, packet: Packet) -> Option<Packet> {
        let Packet::Raft(member, message, hello) = packet else { return Some(packet) };
        if !self.net.damages() {
            return Some(Packet::Raft(member, message, hello));
        }
        let mut sealed = seal(&message);
        self.net.damage(&mut sealed);
        self.ledger.fire(Kind::MessageDamaged, 0);
        Some(Packet::Raft(member, unseal(&sealed)?, hello))
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
