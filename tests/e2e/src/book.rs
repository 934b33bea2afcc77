//! The book's pages as programs: what a reader would type is typed, and what the page says that
//! they see must be seen.
//!
//! 1. [`mod@page`]: from Markdown to what is to be done
//! 2. [`screen`]: whether an output is the one that a page shows
//! 3. [`terminal`]: does it, in a folder of the page's own
//! 4. [`links`]: where pages lead, and whether there is something

pub mod links;
pub mod page;
pub mod screen;
pub mod terminal;

use std::fs;
use std::path::{Path, PathBuf};

use self::page::{Kind, Page};
use self::terminal::Terminal;
use crate::{is_full, workspace};

/// Where the pages are.
pub fn folder() -> PathBuf {
    workspace().join("docs/src")
}

/// The page of that name, a path within the book.
///
/// # Panics
/// When it is not there, or holds something that cannot be tried.
pub fn page(name: &str) -> Page {
    let text = fs::read_to_string(folder().join(name));
    let text = text.unwrap_or_else(|error| panic!("{name}: {error}"));
    Page::parse(name, &text).unwrap_or_else(|problem| panic!("{problem}"))
}

/// The names of all pages, but for the table of contents.
pub fn pages() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("the book is there") {
            let path = entry.expect("its folder can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let name = path.strip_prefix(folder()).expect("it lies below");
                found.push(name.to_str().expect("pages have plain names").to_owned());
            }
        }
    }
    found.retain(|name| name != links::CONTENTS);
    found.sort();
    found
}

/// Does all that a page says, in a fresh folder; gives the folder.
///
/// # Panics
/// When something comes of it that the page does not say.
pub fn run(page: &Page) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder for the page");
    let mut terminal = Terminal::open(page, folder.path());
    for block in page.blocks.iter().filter(|block| is_full() || !block.only_in_full) {
        match &block.kind {
            Kind::Console(console) => terminal.console(console),
            Kind::File { path, text } => terminal.write(path, text),
            Kind::Excerpt { path, text } => check_excerpt(page, block.line, path, text),
            Kind::Text => {}
        }
    }
    drop(terminal);
    folder
}

/// Whether the lines of an excerpt stand in the file that it is from, in that order; a line of dots
/// stands for any others between them.
fn check_excerpt(page: &Page, line: usize, path: &str, text: &str) {
    let file = workspace().join(path);
    let whole = fs::read_to_string(&file);
    let whole = whole.unwrap_or_else(|error| panic!("{}:{line}: {path}: {error}", page.name));
    let bare = |line: &str| line.trim().trim_start_matches("///").trim().to_owned();
    let whole: Vec<String> = whole.lines().map(bare).collect();
    let mut expected = vec![screen::ANY.to_owned()];
    expected.extend(text.lines().map(bare).map(|line| match line.as_str() {
        "// ..." | "# ..." => screen::ANY.to_owned(),
        _ => line,
    }));
    let is_there = screen::consumed(&expected, &whole).is_some();
    assert!(is_there, "{}:{line}: this is not in {path} any more:\n{text}", page.name);
}

/// Whether what a page has written is what is in a folder of the repository.
///
/// # Panics
/// When it is not.
pub fn check_same(page: &Page, written: &Path, kept: &Path) {
    for block in &page.blocks {
        let Kind::File { path, .. } = &block.kind else { continue };
        let read = |root: &Path, path: &str| fs::read_to_string(root.join(path));
        let Ok(had) = read(kept, path.split_once('/').map_or(path, |(_, rest)| rest)) else {
            continue;
        };
        let now = read(written, path).expect("the page wrote it");
        assert_eq!(now, had, "{}: {path} is not what is in {}", page.name, kept.display());
    }
}
