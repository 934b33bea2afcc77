//! Files that are small, and must be whole.

use std::path::Path;
use std::{fs, io};

use anyhow::Context as _;

/// Replaces a file by way of another, so that a crash leaves the old or the new one, whole. An
/// error leaves the old one.
pub fn write_durably(file: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let next = file.with_extension("next");
    let write = || -> io::Result<()> {
        let mut out = fs::File::create(&next)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        fs::rename(&next, file)?;
        let folder = file.parent().expect("the file was joined to its folder");
        fs::File::open(folder)?.sync_all()
    };
    write().with_context(|| format!("writing {}", file.display()))
}
