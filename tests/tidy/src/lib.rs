//! The rules of the source that no compiler checks. Each is a function from all files to what
//! breaks it; one test runs all of them, and each has a test that shows how it fails.
//!
//! 1. [`text`]: what a file looks like
//! 2. [`imports`]: who may know whom
//! 3. [`manifest`]: what the core may depend on
//! 4. [`limits`]: a limit is in use
//! 5. [`docs`]: what the documents name is there
//!
//! What this deliberately does not do: parse Rust. Rules look at lines and words, and are written
//! so that what they overlook is rare and what they report is right.

pub mod docs;
pub mod imports;
pub mod limits;
pub mod manifest;
pub mod text;

use std::fs;
use std::io;
use std::path::Path;

/// A file of the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// From the root, with slashes.
    pub path: String,
    /// All of it.
    pub text: String,
}

impl Source {
    /// A file of that content.
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// Whether it is Rust.
    pub fn is_rust(&self) -> bool {
        self.has_extension("rs")
    }

    /// Whether its name ends so.
    pub fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == extension)
    }

    /// Whether it is the module at `module`, a path without `.rs`, or lies below it.
    pub fn is_of(&self, module: &str) -> bool {
        let rest = self.path.strip_prefix(module);
        rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    }

    /// Its lines without comments, with their numbers. A string with two slashes is taken for the
    /// beginning of a comment.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.numbered().map(|(number, line)| (number, line.split("//").next().unwrap_or(line)))
    }

    /// Its lines, with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    fn at(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

/// What breaks a rule: a line of text for each place.
pub type Rule = fn(&[Source]) -> Vec<String>;

/// All rules.
pub const RULES: [Rule; 10] = [
    text::opens_with_its_purpose,
    text::columns,
    text::lines,
    text::leftovers,
    text::places,
    imports::reserved_crates,
    imports::directions,
    manifest::core_dependencies,
    limits::in_use,
    docs::names,
];

/// Reads all text files below `root` that are the repository's own.
pub fn read(root: &Path) -> io::Result<Vec<Source>> {
    let mut sources = Vec::new();
    read_folder(root, "", &mut sources)?;
    Ok(sources)
}

fn read_folder(folder: &Path, prefix: &str, sources: &mut Vec<Source>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            if !is_foreign(&name) {
                read_folder(&entry.path(), &format!("{path}/"), sources)?;
            }
        } else if name != ".git"
            && let Ok(text) = String::from_utf8(fs::read(entry.path())?)
        {
            sources.push(Source { path, text });
        }
    }
    Ok(())
}

/// Folders of tools, and of what they make.
fn is_foreign(folder: &str) -> bool {
    let is_hidden = folder.starts_with('.') && folder != ".ci";
    is_hidden || ["target", "dist", "__pycache__"].contains(&folder)
}

/// Whether `text` has `word` on its own, not as a part of another.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let (before, rest) = text.split_at(at);
        !before.ends_with(is_part) && !rest[word.len()..].starts_with(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        // At run time: a build's folder may be shared by several clones.
        let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs the tests");
        let root = Path::new(&package).join("../..");
        let sources = read(&root).expect("the repository can be read");
        let has = |path: &str| sources.iter().any(|source| source.path == path);
        assert!(has("Cargo.lock") && has("host/core/src/lib.rs"), "this is not the repository");
        let broken: Vec<String> = RULES.iter().flat_map(|rule| rule(&sources)).collect();
        assert!(broken.is_empty(), "{} violations:\n{}", broken.len(), broken.join("\n"));
    }

    #[test]
    fn words_stand_on_their_own() {
        assert!(has_word("a TERM, b", "TERM"));
        assert!(!has_word("TERMS and MY_TERM", "TERM"));
        assert!(has_word("MY_TERM, TERM", "TERM"));
    }

    #[test]
    fn comments_are_no_code() {
        let source = Source::new("a.rs", "//! one\nlet a = 1; // two\n");
        assert_eq!(source.code().collect::<Vec<_>>(), [(1, ""), (2, "let a = 1; ")]);
    }
}
