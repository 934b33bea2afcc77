//! Who waits for a command, and how they are told: the caller of one, or a stream that has many
//! under way.
//!
//! The handle travels with its command, so there is no table to look it up in, or to leak. Dropped
//! untold, it means that the outcome is unknown. What an entry decides for a stream is told at
//! once: waking its task costs more than deciding a command does.

use std::sync::Arc;
use std::time::Instant;

use quorate_core::id::LogId;
use quorate_core::outcome::Outcome;
use quorate_core::replica::Refusal;
use tokio::sync::{mpsc, oneshot};

use crate::stages::Span;

/// What a caller is told of its command.
#[derive(Debug)]
pub enum Answer {
    /// It was decided, at this place of the log; a duplicate, where its first copy was.
    Decided(LogId, Outcome, Span),
    /// It was not proposed, and never will be.
    Refused(Refusal),
}

/// Who waits for the outcome of a command, and since when.
#[derive(Debug)]
pub struct Waiter {
    /// When the command was submitted.
    pub submitted: Instant,
    who: Who,
}

#[derive(Debug)]
enum Who {
    /// The caller of this one.
    Call(oneshot::Sender<Answer>),
    /// A stream, to which it is one of many.
    Seat(Seat),
}

impl Waiter {
    /// A caller, from now on, and how it learns of the outcome.
    pub fn call() -> (Self, oneshot::Receiver<Answer>) {
        let (caller, answer) = oneshot::channel();
        (Self { submitted: Instant::now(), who: Who::Call(caller) }, answer)
    }

    /// A stream.
    pub const fn seat(seat: Seat, submitted: Instant) -> Self {
        Self { submitted, who: Who::Seat(seat) }
    }
}

/// What a stream is told: of its commands by number, the answers; none where it is unknown.
pub type Told = Vec<(u64, Option<Answer>)>;

/// A command's place in its stream. Dropped untold, its stream hears that the outcome is unknown.
#[derive(Debug)]
pub struct Seat {
    number: u64,
    /// Until it is told.
    stream: Option<Arc<Seats>>,
}

/// Where the seats of a stream tell what they are told.
#[derive(Debug)]
pub struct Seats(mpsc::Sender<Told>);

impl Seats {
    /// The seats of a new stream that has at most so many commands under way, and what they will be
    /// told.
    pub fn new(commands_max: usize) -> (Arc<Self>, mpsc::Receiver<Told>) {
        let (sender, told) = mpsc::channel(commands_max);
        (Arc::new(Self(sender)), told)
    }

    /// A place for a command.
    pub fn seat(self: &Arc<Self>, number: u64) -> Seat {
        Seat { number, stream: Some(Arc::clone(self)) }
    }

    /// There is room for an answer to each command. A stream that is told nothing of a command, as
    /// it gave it up before, says in time that its outcome is unknown.
    fn tell(&self, told: Told) {
        let _gone = self.0.try_send(told).is_err();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            stream.tell(vec![(self.number, None)]);
        }
    }
}

/// Tells many; those of one stream that stand together are told with one wake-up.
pub fn tell(answers: impl Iterator<Item = (Waiter, Answer)>) {
    let expected = answers.size_hint().0;
    let mut of_stream: Option<(Arc<Seats>, Told)> = None;
    for (waiter, answer) in answers {
        let mut seat = match waiter.who {
            Who::Call(caller) => {
                // A caller that went away does not need its answer.
                let _gone = caller.send(answer).is_err();
                continue;
            }
            Who::Seat(seat) => seat,
        };
        let Some(stream) = seat.stream.take() else { continue };
        let told = (seat.number, Some(answer));
        match &mut of_stream {
            Some((last, others)) if Arc::ptr_eq(last, &stream) => others.push(told),
            Some(_) | None => {
                if let Some((last, others)) = of_stream.take() {
                    last.tell(others);
                }
                let mut first = Vec::with_capacity(expected);
                first.push(told);
                of_stream = Some((stream, first));
            }
        }
    }
    if let Some((last, others)) = of_stream {
        last.tell(others);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn refused() -> Answer {
        Answer::Refused(Refusal::Busy)
    }

    fn numbers(told: &Told) -> Vec<(u64, bool)> {
        told.iter().map(|(number, answer)| (*number, answer.is_some())).collect()
    }

    #[test]
    fn what_stands_together_is_told_together() {
        let (first, mut told_first) = Seats::new(8);
        let (second, mut told_second) = Seats::new(8);
        let (caller, mut answer) = Waiter::call();
        let now = Instant::now();
        let waiters = [
            Waiter::seat(first.seat(1), now),
            caller,
            Waiter::seat(first.seat(2), now),
            Waiter::seat(second.seat(1), now),
            Waiter::seat(first.seat(3), now),
        ];
        tell(waiters.into_iter().map(|waiter| (waiter, refused())));
        assert!(answer.try_recv().is_ok());
        assert_eq!(numbers(&told_first.try_recv().unwrap()), [(1, true), (2, true)]);
        assert_eq!(numbers(&told_first.try_recv().unwrap()), [(3, true)]);
        assert_eq!(numbers(&told_second.try_recv().unwrap()), [(1, true)]);
        assert!(told_first.try_recv().is_err() && told_second.try_recv().is_err(), "and no more");
    }

    #[test]
    fn a_seat_that_is_dropped_says_so() {
        let (seats, mut told) = Seats::new(2);
        drop(Waiter::seat(seats.seat(7), Instant::now()));
        assert_eq!(numbers(&told.try_recv().unwrap()), [(7, false)]);
        assert!(told.try_recv().is_err(), "once");
    }
}
