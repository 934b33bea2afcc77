//! The sources of a crate, watched: what makes its module another.
//!
//! What this deliberately does not do: watch what cargo writes, or crates beside this one that it
//! depends on.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

/// Folders, with all that is in them.
pub(super) const FOLDERS: [&str; 2] = ["src", "proto"];
/// Files beside them.
pub(super) const FILES: [&str; 2] = ["build.rs", "Cargo.toml"];

/// Tells of changes for as long as it lives.
pub(super) struct Watch {
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Calls `changed` with each source in `dir` that changes, by its path within it.
    pub(super) fn start(
        dir: &Path,
        changed: impl Fn(PathBuf) + Send + 'static,
    ) -> anyhow::Result<Self> {
        // Events name files by their real path.
        let dir = dir.canonicalize().with_context(|| dir.display().to_string())?;
        let root = dir.clone();
        let handler = move |event: notify::Result<notify::Event>| {
            // A watcher that has lost events says so: then anything may have changed.
            let Ok(event) = event else { return changed(PathBuf::from(FOLDERS[0])) };
            if matches!(event.kind, EventKind::Access(_)) {
                return;
            }
            for path in event.paths.iter().filter_map(|path| path.strip_prefix(&root).ok()) {
                if is_source(path) {
                    changed(path.to_owned());
                }
            }
        };
        let mut watcher = notify::recommended_watcher(handler).context("watching the sources")?;
        let mut watch = |path: &Path, mode| {
            let watching = || format!("watching {}", path.display());
            watcher.watch(path, mode).with_context(watching)
        };
        // Editors replace files: their folder knows it, they themselves do not.
        watch(&dir, RecursiveMode::NonRecursive)?;
        for folder in FOLDERS.map(|folder| dir.join(folder)) {
            if folder.is_dir() {
                watch(&folder, RecursiveMode::Recursive)?;
            }
        }
        Ok(Self { _watcher: watcher })
    }
}

fn is_source(path: &Path) -> bool {
    let mut parts = path.iter().map(|part| part.to_string_lossy());
    let first = parts.next().unwrap_or_default();
    // What editors leave beside a file that is open.
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let is_left = name.starts_with(['.', '#']) || name.ends_with(['~']) || name == "4913";
    let is_ours = match parts.next() {
        Some(_) => FOLDERS.contains(&&*first),
        None => FILES.contains(&&*first),
    };
    is_ours && !is_left
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn sources_are_what_the_module_is_made_of() {
        for path in ["src/lib.rs", "src/a/b.rs", "proto/a/v1/a.proto", "build.rs", "Cargo.toml"] {
            assert!(is_source(Path::new(path)), "{path}");
        }
        for path in ["", "src", "target/a.rs", "Cargo.lock", "tests/it.rs", "a.wasm", "README.md"] {
            assert!(!is_source(Path::new(path)), "{path}");
        }
        for path in ["src/.lib.rs.swp", "src/lib.rs~", "src/#lib.rs#", "src/4913"] {
            assert!(!is_source(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn a_change_is_told_however_it_is_written_and_reading_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("src")).unwrap();
        fs::write(path("src/lib.rs"), "a").unwrap();
        let (sender, told) = mpsc::channel();
        let tell = move |path| drop(sender.send(path));
        let _watch = Watch::start(folder.path(), tell).unwrap();
        let next = || told.recv_timeout(Duration::from_secs(30)).unwrap();

        fs::read(path("src/lib.rs")).unwrap();
        fs::create_dir(path("target")).unwrap();
        fs::write(path("target/a.rs"), "a").unwrap();
        fs::write(path("build.rs"), "b").unwrap();
        assert_eq!(next(), Path::new("build.rs"), "and nothing before that");
        // As editors do.
        fs::write(path("src/.new"), "c").unwrap();
        fs::rename(path("src/.new"), path("src/lib.rs")).unwrap();
        while next() != Path::new("src/lib.rs") {}
    }
}
