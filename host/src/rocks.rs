//! Quorate's two stores on disk, each a RocksDB of its own: the log of a group, which is synced,
//! and the state of a machine, which is not, since the log has what a crash takes from it.
//!
//! Only this module knows RocksDB. [`quorate_core::log::MemoryLog`] and
//! [`quorate_core::state::MemoryState`] are the specification; the tests run the same suites
//! against both.
//!
//! 1. `record`: the checksum that each record carries
//! 2. `log`, `tail`, `wal`: [`RocksLog`], its recent entries in memory, its write-ahead files
//! 3. `state`: [`RocksState`], and [`RocksBuilder`], which makes one from a snapshot

mod log;
mod record;
mod state;
mod tail;
mod wal;

use std::path::Path;

use quorate_core::outcome::Fatal;
use rocksdb::{DB, DBCompressionType, LogLevel, Options};

pub use self::log::RocksLog;
pub use self::state::{RocksBuilder, RocksState};

/// Open table files of one store; RocksDB closes and opens further ones as it needs them.
const OPEN_FILES_MAX: i32 = 512;
/// Flushes and compactions at the same time. The threads belong to the process: two stores share
/// them.
const BACKGROUND_JOBS_MAX: i32 = 2;
/// RocksDB's own text log.
const INFO_LOG_BYTES_MAX: usize = 1024 * 1024;

/// What both stores have in common.
fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    // Payloads are small or already compressed, and the build leaves the compressors out.
    options.set_compression_type(DBCompressionType::None);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_background_jobs(BACKGROUND_JOBS_MAX);
    // An mmapped file turns a failing disk into SIGBUS instead of an error.
    options.set_allow_mmap_reads(false);
    options.set_allow_mmap_writes(false);
    // There is one writer: nobody to share a memtable with.
    options.set_allow_concurrent_memtable_write(false);
    // Spreads the writing of a table over its making, so that no sync of the log waits behind it.
    options.set_bytes_per_sync(1024 * 1024);
    options.set_log_level(LogLevel::Warn);
    options.set_max_log_file_size(INFO_LOG_BYTES_MAX);
    options.set_keep_log_file_num(2);
    options
}

fn open(options: &Options, dir: &Path) -> Result<DB, Fatal> {
    DB::open(options, dir).map_err(|error| {
        let text: &str = error.as_ref();
        // RocksDB has no kind of error for this: the words of the same process, and of another.
        let locked = text.contains("lock hold by current process") || text.contains("lock file");
        if locked {
            let what = format!("another process has the folder {} open", dir.display());
            return Fatal::new(what, error.into());
        }
        failure(format!("cannot open the folder {}", dir.display()), error)
    })
}

/// What RocksDB could not do, and for a full disk what is to be done about it.
fn failure(what: String, error: rocksdb::Error) -> Fatal {
    let text: &str = error.as_ref();
    // Nor has it one that it shows for these.
    let is_full = ["No space left on device", "Disk quota exceeded"];
    if is_full.iter().any(|full| text.contains(full)) {
        let advice = "its disk is full: make room there, then start this node again";
        return Fatal::new(format!("{what}: {advice}"), error.into());
    }
    Fatal::new(what, error.into())
}
