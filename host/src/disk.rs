//! How much room there is on the disk of the data folder, and who must not write when there is
//! little.
//!
//! A disk that fills up ends a node: a log that cannot be written is a fault. So writes are refused
//! while there is still room for what is under way, for reads, and for deletions, which make room.
//! The leader refuses for all: when its own disk is nearly full, or those of so many nodes that it
//! would be left without a majority.
//!
//! What this deliberately does not do: make room.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quorate_core::batch::Command;
use quorate_core::limits::{DISK_RESERVE_BYTES, DISK_RESERVE_PERCENT};

use crate::integrity::Integrity;
use quorate_wasm::Module;

/// Between two looks at the disk.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// Refuses what needs room when there is little.
#[derive(Debug)]
pub struct DiskGuard {
    /// The methods that make room.
    frees: BTreeSet<u32>,
    integrity: Arc<Integrity>,
}

impl DiskGuard {
    /// For commands of `module`; what is known of the disks is in `integrity`, with what else nodes
    /// tell each other of themselves.
    pub fn new(module: &Module, integrity: Arc<Integrity>) -> Self {
        let methods = module.manifest().methods().filter(|method| method.frees_space);
        Self { frees: methods.map(|method| method.id).collect(), integrity }
    }

    /// Whether a command may be proposed here.
    pub fn admits(&self, command: &Command) -> bool {
        self.frees.contains(&command.method) || !self.integrity.lacks_room()
    }
}

/// The room on the disk of a folder; without a folder, there is always some.
#[derive(Clone, Debug)]
pub struct Room {
    folder: Option<PathBuf>,
    reserve: Option<u64>,
}

impl Room {
    /// In this folder, where so many bytes must be free; without a number, as many as are usual.
    pub fn new(folder: Option<PathBuf>, reserve: Option<u64>) -> Self {
        Self { folder, reserve }
    }

    /// How many bytes may be written there. A disk that cannot be asked has room: whoever writes
    /// will see.
    pub fn bytes(&self) -> u64 {
        let Some(folder) = &self.folder else { return u64::MAX };
        beyond_reserve(folder, self.reserve).unwrap_or_else(|error| {
            tracing::warn!("how full the disk is cannot be found out: {error}");
            u64::MAX
        })
    }
}

/// Looks at the disk again and again, until `stop` resolves.
pub async fn look(room: Room, integrity: Arc<Integrity>, stop: impl Future<Output = ()>) {
    tokio::pin!(stop);
    loop {
        integrity.set_nearly_full(room.bytes() == 0);
        tokio::select! {
            () = tokio::time::sleep(LOOK_PAUSE) => {}
            () = &mut stop => return,
        }
    }
}

/// How much more is free than must be: a share of the disk, but not more than some bytes.
fn beyond_reserve(folder: &Path, reserved: Option<u64>) -> std::io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    let bytes = disk.f_blocks.saturating_mul(disk.f_frsize);
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    Ok(free.saturating_sub(reserved.unwrap_or_else(|| reserve(bytes))))
}

fn reserve(disk_bytes: u64) -> u64 {
    (disk_bytes / 100 * DISK_RESERVE_PERCENT).min(DISK_RESERVE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_a_share_of_a_small_disk_and_bounded_on_a_large_one() {
        assert_eq!(reserve(100 << 20), 5 << 20, "five percent");
        assert_eq!(reserve(1 << 40), DISK_RESERVE_BYTES);
        assert_eq!(reserve(0), 0);
        let temp = tempfile::tempdir().unwrap();
        let room = |reserve| Room::new(Some(temp.path().to_owned()), reserve).bytes();
        assert_eq!(room(Some(u64::MAX)), 0, "as the operator says");
        assert!(room(Some(0)) > 0);
        assert_eq!(Room::new(None, Some(u64::MAX)).bytes(), u64::MAX, "nothing is written");
        assert!(beyond_reserve(&temp.path().join("none"), None).is_err());
    }
}
