//! What the documents name is there: files, and functions of files.

use crate::Source;

/// The plugin that the book's reader makes, and what the book calls its own folder.
const BOOK: (&str, &str) = ("docs/src/", "docs/tickets/");
/// Files that documents name by their path from the root.
const EXTENSIONS: [&str; 6] = [".md", ".proto", ".rs", ".sh", ".toml", ".wat"];

/// In Markdown, a path in backticks, from the root or from the document's own folder, is that of a
/// file or, with a slash at its end, of a folder. In the book it may be one of the reader's plugin.
/// A function, such as `run()` or `Node::start()`,
/// is in one of the files that its line names, or in any when it names none.
pub fn names(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for document in sources.iter().filter(|source| source.has_extension("md")) {
        for (number, line) in document.numbered() {
            let quoted: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
            let mut named = Vec::new();
            for path in quoted.iter().filter(|name| is_path(name)) {
                let found = sources.iter().find(|source| is_at(source, document, path));
                match found {
                    Some(source) => named.push(source),
                    None => broken.push(document.at(number, format_args!("there is no {path}"))),
                }
            }
            named.retain(|source| source.is_rust());
            let anywhere = || sources.iter().filter(|source| source.is_rust()).collect();
            let files: Vec<&Source> = if named.is_empty() { anywhere() } else { named };
            for call in quoted.iter().filter_map(|name| name.strip_suffix("()")) {
                let function = call.rsplit("::").next().unwrap_or(call);
                if !files.iter().any(|file| defines(file, function)) {
                    broken.push(document.at(number, format_args!("there is no {call}()")));
                }
            }
        }
    }
    broken
}

/// Whether a document that says `path` means this file, or the folder that it is in.
fn is_at(source: &Source, document: &Source, path: &str) -> bool {
    let folder = if document.path.starts_with(BOOK.0) {
        BOOK.1
    } else {
        document.path.rfind('/').map_or("", |end| &document.path[..=end])
    };
    [path.to_owned(), format!("{folder}{path}")]
        .iter()
        .any(|path| source.path == *path || (path.ends_with('/') && source.path.starts_with(path)))
}

/// With a slash in it, or a file of the root.
fn is_path(name: &str) -> bool {
    let is_plain = name.chars().all(|c| c.is_alphanumeric() || "_-./".contains(c));
    let is_own = !name.starts_with(['/', '.']) && !name.starts_with("dist/");
    let is_file = EXTENSIONS.iter().any(|extension| name.ends_with(extension));
    is_plain && is_own && (is_file || name.ends_with('/'))
}

fn defines(file: &Source, function: &str) -> bool {
    file.code().any(|(_, code)| {
        let name = code.split_once("fn ").and_then(|(_, rest)| rest.strip_prefix(function));
        name.is_some_and(|rest| rest.starts_with(['(', '<']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(line: &str) -> Vec<String> {
        names(&[
            Source::new("a/b.rs", "//! B.\npub async fn run<T>() {}\n"),
            Source::new("a/c.rs", "//! C.\nfn walk() {}\n// fn rest() {}\n"),
            Source::new("README.md", line),
        ])
    }

    #[test]
    fn a_file_that_is_not_there() {
        assert_eq!(broken("see `a/x.rs`"), ["README.md:1: there is no a/x.rs"]);
        assert_eq!(broken("see `x/`"), ["README.md:1: there is no x/"]);
        assert_eq!(broken("see `OTHER.md`"), ["README.md:1: there is no OTHER.md"]);
        let beside =
            [Source::new("a/b.rs", "//! B.\n"), Source::new("a/README.md", "`b.rs` `c.rs`")];
        assert_eq!(names(&beside), ["a/README.md:1: there is no c.rs"]);
        let fine = "see `a/b.rs`, `a/`, `README.md`, `dist/quorate`, `a x/`, a/x.rs";
        assert!(broken(fine).is_empty());
    }

    #[test]
    fn a_function_that_is_not_there() {
        assert_eq!(broken("`walks()`"), ["README.md:1: there is no walks()"]);
        assert_eq!(broken("`wal()`"), ["README.md:1: there is no wal()"]);
        assert_eq!(broken("`rest()`"), ["README.md:1: there is no rest()"]);
        assert_eq!(broken("`a/b.rs`: `C::walk()`"), ["README.md:1: there is no C::walk()"]);
        assert!(broken("`a/b.rs`: `run()`; `a/c.rs`: `C::walk()`").is_empty());
        assert!(broken("`walk()` and `run()`").is_empty());
    }
}
