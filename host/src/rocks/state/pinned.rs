//! A snapshot together with the database that it borrows, so that it can go wherever a reader does.
#![expect(clippy::mem_forget, reason = "self_cell's code: a guard that has done its work")]

use std::sync::Arc;

use rocksdb::{DB, Snapshot};
use self_cell::self_cell;

self_cell!(
    pub(super) struct Pinned {
        owner: Arc<DB>,
        #[covariant]
        dependent: Snapshot,
    }
);

impl Pinned {
    pub(super) fn of(db: &Arc<DB>) -> Self {
        Self::new(Arc::clone(db), |db| db.snapshot())
    }

    pub(super) fn db(&self) -> &Arc<DB> {
        self.borrow_owner()
    }

    pub(super) fn snapshot(&self) -> &Snapshot<'_> {
        self.borrow_dependent()
    }
}
