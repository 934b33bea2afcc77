//! Where pages lead: every link within the book has a page and, if it names one, a heading.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The table of contents.
pub const CONTENTS: &str = "SUMMARY.md";

/// A page with its links and headings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Linked {
    /// What its links say: `page.md#heading`, with the line.
    pub links: Vec<(usize, String)>,
    /// The names of its headings in links.
    pub headings: BTreeSet<String>,
}

impl Linked {
    /// Reads a page.
    pub fn parse(text: &str) -> Self {
        let mut linked = Self::default();
        let mut is_fenced = false;
        for (number, line) in (1..).zip(text.lines()) {
            is_fenced ^= line.starts_with("```");
            if is_fenced {
                continue;
            }
            if line.starts_with('#') {
                linked.headings.insert(anchor(line.trim_start_matches('#')));
            }
            let behind = line.split("](").skip(1);
            let targets = behind.filter_map(|rest| rest.split(')').next());
            linked.links.extend(targets.map(|target| (number, target.to_owned())));
        }
        linked
    }
}

/// A heading as links name it: the rule of mdBook.
fn anchor(heading: &str) -> String {
    let kept = |c: char| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || "_-".contains(c) => Some(c),
        _ => None,
    };
    heading.trim().to_lowercase().chars().filter_map(kept).collect()
}

/// All links of the book that lead nowhere, and pages that are not in the table of contents.
pub fn broken(folder: &Path, pages: &[String]) -> Vec<String> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let linked = |name: &str| read(name).map(|text| Linked::parse(&text));
    let mut broken = Vec::new();
    for name in pages.iter().map(String::as_str).chain([CONTENTS]) {
        let page = linked(name).unwrap_or_default();
        for (line, link) in &page.links {
            if link.contains("://") {
                continue;
            }
            let (target, heading) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if target.is_empty() { Some(name.to_owned()) } else { beside(name, target) };
            let Some(found) = target.and_then(|target| linked(&target)) else {
                broken.push(format!("{name}:{line}: there is no page {link}"));
                continue;
            };
            if !heading.is_empty() && !found.headings.contains(heading) {
                broken.push(format!("{name}:{line}: there is no heading {link}"));
            }
        }
    }
    let contents = linked(CONTENTS).unwrap_or_default();
    for name in pages {
        if !contents.links.iter().any(|(_, link)| link == name) {
            broken.push(format!("{CONTENTS}: {name} is not in it"));
        }
    }
    broken
}

/// The page that a link of another one means; `None` outside of the book.
fn beside(name: &str, target: &str) -> Option<String> {
    let mut path = PathBuf::from(name);
    path.pop();
    for part in Path::new(target).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir if path.pop() => {}
            _ => return None,
        }
    }
    path.to_str().map(str::to_owned)
}
