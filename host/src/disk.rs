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
use std::path::PathBuf;
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

/// Looks at the disk of a folder again and again, until `stop` resolves, and whether so many bytes
/// are free there; without a number, as many as are usual.
pub async fn look(
    (folder, reserve): (PathBuf, Option<u64>),
    integrity: Arc<Integrity>,
    stop: impl Future<Output = ()>,
) {
    tokio::pin!(stop);
    loop {
        match is_nearly_full(&folder, reserve) {
            Ok(is_full) => integrity.set_nearly_full(is_full),
            Err(error) => tracing::warn!("how full the disk is cannot be found out: {error}"),
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_PAUSE) => {}
            () = &mut stop => return,
        }
    }
}

/// Whether less is free than must be: a share of the disk, but not more than some bytes.
fn is_nearly_full(folder: &std::path::Path, reserved: Option<u64>) -> std::io::Result<bool> {
    let disk = rustix::fs::statvfs(folder)?;
    let bytes = disk.f_blocks.saturating_mul(disk.f_frsize);
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    Ok(free < reserved.unwrap_or_else(|| reserve(bytes)))
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
        assert!(is_nearly_full(temp.path(), None).is_ok());
        assert!(is_nearly_full(&temp.path().join("none"), None).is_err());
        assert!(is_nearly_full(temp.path(), Some(u64::MAX)).unwrap(), "as the operator says");
        assert!(!is_nearly_full(temp.path(), Some(0)).unwrap());
    }
}
