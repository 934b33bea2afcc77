//! Writing, and the rule of revisions: all that one command changes carries one new revision, and
//! the store's revision grows only if there was something.

use quorate_sdk::Command;

use crate::delete_request::Target;
use crate::{DeleteReply, DeleteRequest, KeyValue, PAIRS, PutReply, PutRequest, REVISION, read};

/// The changes of one command.
pub(crate) struct Change<'c, 'a> {
    pub(crate) cx: &'c mut Command<'a>,
    /// The store's revision before.
    base: u64,
    changed: bool,
}

impl<'c, 'a> Change<'c, 'a> {
    pub(crate) fn begin(cx: &'c mut Command<'a>) -> Self {
        let base = REVISION.get(cx);
        Self { cx, base, changed: false }
    }

    /// Settles the store's revision, and gives it.
    pub(crate) fn finish(self) -> u64 {
        if !self.changed {
            return self.base;
        }
        let revision = self.base + 1;
        REVISION.set(self.cx, revision);
        revision
    }

    /// The reply is yet without a revision.
    pub(crate) fn put(&mut self, request: PutRequest) -> PutReply {
        let PutRequest { key, value, prev_kv: wants_prev } = request;
        let prev = PAIRS.get(self.cx, &key);
        let mod_revision = self.base + 1;
        let (create_revision, version) =
            prev.as_ref().map_or((mod_revision, 1), |kv| (kv.create_revision, kv.version + 1));
        let stored = KeyValue { key: Vec::new(), value, create_revision, mod_revision, version };
        PAIRS.insert(self.cx, &key, &stored);
        self.changed = true;

        let prev_kv = prev.filter(|_| wants_prev).map(|prev| KeyValue { key, ..prev });
        PutReply { revision: 0, prev_kv }
    }

    /// The reply is yet without a revision.
    pub(crate) fn delete(&mut self, request: DeleteRequest) -> DeleteReply {
        let prev_kvs = if request.prev_kv { self.targets(&request) } else { Vec::new() };
        let deleted = match request.target {
            Some(Target::Key(key)) => u64::from(PAIRS.remove(self.cx, key)),
            Some(Target::Range(range)) => {
                PAIRS.remove_range(self.cx, read::bounds(&range.start, &range.end))
            }
            None => 0,
        };
        self.changed |= deleted > 0;
        DeleteReply { revision: 0, deleted, prev_kvs }
    }

    /// What the request is about to delete.
    fn targets(&self, request: &DeleteRequest) -> Vec<KeyValue> {
        match &request.target {
            Some(Target::Key(key)) => read::pair(self.cx, key).into_iter().collect(),
            Some(Target::Range(range)) => read::pairs(self.cx, &range.start, &range.end).collect(),
            None => Vec::new(),
        }
    }
}
