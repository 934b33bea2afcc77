//! Reads by a lease and stale reads: who serves them, a reader that keeps the leader's lease alive,
//! and the faults that a lease must survive.

use std::time::Duration;

use super::process::{Origin, Token};
use super::{Cluster, Event, TICK};
use crate::calls::How;
use crate::fault::{Fault, Kind, Unsynced, Way};
use crate::oracle::{Checked, ensure};
use crate::tally;
use crate::time::{MS, SECOND, Time};

/// Between two reads that keep a lease alive.
const BROWSE_EVERY: Time = 150 * MS;
/// How long a process is down that restarts at once.
const RESTART: Time = 20 * MS;

impl Cluster {
    /// What a node's clock of leases shows: it drifts as its ticks do, but never stands still.
    pub(super) fn lease_clock(&self, number: u32) -> Duration {
        let skew = self.plan.skews_permille[number as usize - 1];
        let tick = TICK.saturating_add_signed(TICK as i64 / 1000 * skew);
        Duration::from_micros(self.now * TICK / tick)
    }

    /// A query comes to a node.
    pub(super) fn take_read(&mut self, number: u32, call: u64) -> Checked {
        let how = self.calls[call as usize].how;
        let clock = self.lease_clock(number);
        let committed = self.oracle.log().len() as u64;
        let Some(process) = &mut self.node(number).process else { return Ok(()) };
        let token = Token::new(call, Origin::Client, &process.desk);
        let served = match how {
            How::Linearizable => process.lease.endless(),
            How::Lease => process.lease.covers(clock),
            How::Stale => Some(0),
        };
        match served {
            Some(index) => process.granted.push((index, token)),
            None => process.reads.push_back(token),
        }
        let path = match (how, served) {
            (How::Linearizable, None) => return Ok(()),
            (How::Linearizable | How::Lease, Some(index)) => {
                ensure(index >= committed, "a lease covers all that is committed", || {
                    format!("call {call} at node {number}: {index}, after {committed}")
                })?;
                if how == How::Lease { tally::READ_BY_LEASE } else { tally::READ_ALONE }
            }
            (How::Lease, None) => tally::LEASE_NOT_THERE,
            (How::Stale, _) => tally::READ_STALE,
        };
        tally::count(&mut self.marks, path, 1);
        Ok(())
    }

    /// A reader at the leader, whoever leads.
    pub(super) fn browse(&mut self) -> Checked {
        if self.is_healing {
            return Ok(());
        }
        self.schedule(self.now + BROWSE_EVERY, Event::Browse);
        let Some(leader) = self.leader() else { return Ok(()) };
        self.call_as(leader, u32::MAX, self.any_read(), How::Lease)
    }

    /// Faults that are made for leases. They do nothing to a cluster that has none.
    pub(super) fn test_lease(&mut self, fault: Fault, number: u32, until: Time) -> Checked {
        if self.plan.lease.is_none() {
            return Ok(());
        }
        let others: Vec<u32> = (1..=self.plan.nodes).filter(|other| *other != number).collect();
        match fault {
            Fault::Doze(_) => {
                // What it asks now is answered while it sleeps.
                self.call_as(number, u32::MAX, self.any_read(), How::Linearizable)?;
                self.pause(number);
                // Past its end, as long as it is cut off.
                self.schedule(self.now, Event::Rush(number, until + SECOND));
                self.ledger.fire(Kind::Doze, number);
            }
            Fault::OfferAndDoze(_) => {
                self.hand_over(number)?;
                self.pause(number);
                self.schedule(self.now, Event::Rush(number, until));
                self.ledger.fire(Kind::OfferAndDoze, number);
            }
            Fault::Estrange(_) => {
                self.estrange(number, true);
                // Else it would lack entries, and could not be elected.
                self.quiet_until = until;
                self.ledger.fire(Kind::Estrange, number);
            }
            Fault::Desert(_) => {
                self.isolate(number, Way::Both, true);
                self.ledger.fire(Kind::Desert, number);
                self.quiet_until = 0;
                self.schedule(self.now, Event::Rush(number, until));
                for other in others.into_iter().skip(1) {
                    self.down_until(other, self.now + RESTART);
                    self.crash(other, Unsynced::Kept)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What such a fault did is over.
    pub(super) fn lift_from_lease(&mut self, fault: Fault, number: u32) {
        if self.plan.lease.is_none() {
            return;
        }
        match fault {
            Fault::Doze(_) | Fault::OfferAndDoze(_) => self.resume(number),
            Fault::Estrange(_) => self.estrange(number, false),
            Fault::Desert(_) => self.isolate(number, Way::Both, false),
            _ => {}
        }
    }

    /// A node and the first of the others do not reach each other.
    fn estrange(&mut self, number: u32, is_cut: bool) {
        let Some(first) = (1..=self.plan.nodes).find(|other| *other != number) else { return };
        self.net.cut(number, first, is_cut);
        self.net.cut(first, number, is_cut);
    }
}

/// How long a lease lasts, by a clock that is right.
pub(crate) fn lease() -> Duration {
    Duration::from_micros(TICK) * quorate_core::limits::LEASE_TICKS
}
