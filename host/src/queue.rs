//! A queue that is bounded in bytes as well as in items, and loses what does not fit: for messages
//! that are sent again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use quorate_core::id::RaftId;
use tokio::sync::mpsc;

/// What has a size.
pub trait Weigh {
    /// Its bytes.
    fn bytes(&self) -> usize;
}

impl Weigh for Bytes {
    fn bytes(&self) -> usize {
        self.len()
    }
}

impl Weigh for (RaftId, Bytes) {
    fn bytes(&self) -> usize {
        self.1.len()
    }
}

/// Why an item was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// There is no room for it.
    Full,
    /// Nobody receives any more.
    Closed,
}

/// The end where items go in.
#[derive(Clone, Debug)]
pub struct Sender<T> {
    items: mpsc::Sender<T>,
    bytes: Arc<AtomicUsize>,
    bytes_max: usize,
}

/// The end where they come out.
#[derive(Debug)]
pub struct Receiver<T> {
    items: mpsc::Receiver<T>,
    bytes: Arc<AtomicUsize>,
}

/// A queue of so many items, and of so many bytes in all; an item alone may be larger.
pub fn channel<T: Weigh>(items_max: usize, bytes_max: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::channel(items_max);
    let bytes = Arc::<AtomicUsize>::default();
    let sender = Sender { items: sender, bytes: Arc::clone(&bytes), bytes_max };
    (sender, Receiver { items: receiver, bytes })
}

impl<T: Weigh> Sender<T> {
    /// Puts an item in, or loses it.
    pub fn try_send(&self, item: T) -> Result<(), Lost> {
        let bytes = item.bytes();
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let sent = if before > 0 && before + bytes > self.bytes_max {
            Err(Lost::Full)
        } else {
            self.items.try_send(item).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => Lost::Full,
                mpsc::error::TrySendError::Closed(_) => Lost::Closed,
            })
        };
        if sent.is_err() {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        sent
    }
}

impl<T: Weigh> Receiver<T> {
    /// The next item, when it comes; none once all senders are gone.
    pub async fn recv(&mut self) -> Option<T> {
        let item = self.items.recv().await;
        item.inspect(|item| self.release(item))
    }

    /// The next item, if there is one.
    pub fn try_recv(&mut self) -> Option<T> {
        let item = self.items.try_recv().ok();
        item.inspect(|item| self.release(item))
    }

    fn release(&self, item: &T) {
        self.bytes.fetch_sub(item.bytes(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_queue_is_bounded_in_bytes_and_in_items() {
        let (sender, mut receiver) = channel(3, 100);
        let item = |bytes| Bytes::from(vec![0; bytes]);
        assert_eq!(sender.try_send(item(300)), Ok(()), "alone, it may be larger");
        assert_eq!(sender.try_send(item(1)), Err(Lost::Full));
        assert_eq!(receiver.recv().await.unwrap().len(), 300);
        assert_eq!(sender.try_send(item(60)), Ok(()));
        assert_eq!(sender.try_send(item(41)), Err(Lost::Full));
        assert_eq!(sender.try_send(item(40)), Ok(()));
        assert_eq!(receiver.try_recv().unwrap().len(), 60);
        assert_eq!(sender.try_send(item(0)), Ok(()));
        assert_eq!(sender.try_send(item(0)), Ok(()));
        assert_eq!(sender.try_send(item(0)), Err(Lost::Full), "four items");
        drop(receiver);
        assert_eq!(sender.try_send(item(0)), Err(Lost::Closed));
    }
}
