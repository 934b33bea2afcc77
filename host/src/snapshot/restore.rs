//! A node's data folder made from a snapshot: the node begins in a new cluster, with that state.
//!
//! Every founder of the new cluster is made from the same snapshot. Their logs begin behind the
//! entry that the state has applied, with its term, and their members are the founders: so they
//! agree about all that was before, and elect a leader as any new cluster does. Their lineage is
//! the snapshot's digest: a node that was made from another, or that begins with nothing, is
//! refused by its peers before it can take part in an election.
//!
//! **A folder that was left half-made is never taken for one.** First comes the state, which does
//! not open before it is whole; then the log, without which the state is ahead and refused; the
//! file that claims the folder is last.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use quorate_core::id::{LogId, NodeId};
use quorate_core::log::{Base, HardState, LogStore as _, Persist};
use quorate_core::state::{Meta, StateBuilder as _};

use super::{Content, Header, Reader};
use crate::identity::{self, Birth, GROUP, Identity, LOG_FOLDER, LogKind};
use crate::rocks::{RocksBuilder, RocksLog};

/// Makes `folder`, which is new or empty, from the records that follow `header`. What cannot be
/// made leaves the folder as it was.
pub fn restore<R: Read>(
    header: &Header,
    snapshot: &mut Reader<R>,
    folder: &Path,
    identity: &Identity,
    addresses: &BTreeMap<NodeId, String>,
) -> anyhow::Result<()> {
    let made = Made::begin(folder)?;
    // Members and their addresses are those of the old cluster.
    let meta = Meta { conf: bytes::Bytes::new(), ..header.meta.clone() };
    let mut builder = RocksBuilder::create(&folder.join("state"))?;
    while let Some(content) = snapshot.next_content()? {
        if let Content::Records(records) = content {
            records.put_into(&mut builder)?;
        }
    }
    let applied = meta.applied;
    builder.finish(meta)?;
    begin_log(&folder.join(LOG_FOLDER), applied)?;
    let digest = snapshot.decoder().position().expect("the snapshot was read").digest;
    let (lineage, _) = digest.split_first_chunk().expect("a digest is longer");
    let birth = Birth { lineage: u128::from_le_bytes(*lineage), ..Birth::default() };
    identity::claim(folder, identity, LogKind::RocksDb, &birth, addresses)?;
    made.keep()
}

/// A log that begins behind `applied`.
fn begin_log(folder: &Path, applied: LogId) -> anyhow::Result<()> {
    let LogId { term, index: commit } = applied;
    let hard_state = HardState { term, commit, ..HardState::default() };
    let round = Persist {
        base: Some(Base { id: applied, state: 0 }),
        hard_state: Some(&hard_state),
        entries: &[],
        must_sync: true,
    };
    RocksLog::open(folder, GROUP)?.persist(round)?;
    Ok(())
}

/// A folder that is being filled. Dropped before it is kept, all that is in it is removed again.
struct Made {
    folder: PathBuf,
    was_there: bool,
    is_kept: bool,
}

impl Made {
    fn begin(folder: &Path) -> anyhow::Result<Self> {
        let name = folder.display();
        let was_there = folder.exists();
        fs::create_dir_all(folder).with_context(|| format!("creating the data folder {name}"))?;
        let mut inside = fs::read_dir(folder).with_context(|| format!("reading {name}"))?;
        ensure!(inside.next().is_none(), "the data folder {name} is not empty");
        Ok(Self { folder: folder.to_owned(), was_there, is_kept: false })
    }

    fn keep(mut self) -> anyhow::Result<()> {
        self.is_kept = true;
        // The folder's own name must be durable too.
        let parent = fs::canonicalize(&self.folder)?.parent().map(Path::to_owned);
        parent.map_or(Ok(()), |parent| File::open(parent)?.sync_all())?;
        Ok(())
    }

    fn remove(&self) -> std::io::Result<()> {
        if !self.was_there {
            return fs::remove_dir_all(&self.folder);
        }
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if !self.is_kept
            && let Err(error) = self.remove()
        {
            let folder = self.folder.display();
            tracing::warn!("{folder} was not made, and cannot be emptied again: {error}");
        }
    }
}
