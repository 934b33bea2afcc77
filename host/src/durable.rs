//! Files that are there as a whole or not at all.
//!
//! Each is written beside its place, under a name that ends in `.partial`, and takes its place once
//! it is on disk. Dropped before, it is removed. What a killed process leaves is written over by
//! the next.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Replaces a small file, so that a crash leaves the old or the new one. So does an error.
pub fn write_durably(file: &Path, text: &str) -> anyhow::Result<()> {
    let write = || {
        let mut new = NewFile::create(file, true)?;
        new.write(text.as_bytes())?;
        new.finish()
    };
    write().with_context(|| format!("writing {}", file.display()))
}

/// A file that is being written.
#[derive(Debug)]
pub struct NewFile {
    place: PathBuf,
    partial: PathBuf,
    file: File,
    may_replace: bool,
    is_done: bool,
}

impl NewFile {
    /// Begins a file that is to be at `place`, where none is unless it may be replaced.
    pub fn create(place: &Path, may_replace: bool) -> io::Result<Self> {
        check_free(place, may_replace)?;
        let mut partial = OsString::from(place);
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = File::options().write(true).create(true).truncate(false).open(&partial)?;
        // Somebody else's would be cut off under them.
        file.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => {
                io::Error::other(format!("another process is writing {}", partial.display()))
            }
            fs::TryLockError::Error(error) => error,
        })?;
        file.set_len(0)?;
        Ok(Self { place: place.to_owned(), partial, file, may_replace, is_done: false })
    }

    /// Appends.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Makes it durable, and moves it to its place.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        check_free(&self.place, self.may_replace)?;
        fs::rename(&self.partial, &self.place)?;
        self.is_done = true;
        let folder = match self.place.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            Some(_) | None => Path::new("."),
        };
        File::open(folder)?.sync_all()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_done {
            // What cannot be removed is not taken for a file either.
            drop(fs::remove_file(&self.partial));
        }
    }
}

fn check_free(place: &Path, may_replace: bool) -> io::Result<()> {
    if may_replace || fs::symlink_metadata(place).is_err() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there already"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_there_as_a_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a");
        let mut file = NewFile::create(&place, false).unwrap();
        file.write(b"half").unwrap();
        assert!(NewFile::create(&place, false).unwrap_err().to_string().contains("another"));
        drop(file);
        assert!(names(folder.path()).is_empty(), "it was not finished");

        fs::write(folder.path().join("a.partial"), "what a killed process has left").unwrap();
        let mut file = NewFile::create(&place, false).unwrap();
        file.write(b"who").unwrap();
        file.write(b"le").unwrap();
        file.finish().unwrap();
        assert_eq!(names(folder.path()), ["a"]);
        assert_eq!(fs::read(&place).unwrap(), b"whole");
    }

    #[test]
    fn a_file_that_is_there_stays_unless_it_may_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a");
        let file = NewFile::create(&place, false).unwrap();
        fs::write(&place, "old").unwrap();
        assert_eq!(file.finish().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let refused = NewFile::create(&place, false).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&place).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a"]);
        let mut file = NewFile::create(&place, true).unwrap();
        file.write(b"new").unwrap();
        file.finish().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"new");
    }
}
