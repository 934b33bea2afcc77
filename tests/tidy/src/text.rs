//! What a file looks like.

use crate::{Source, has_word};

/// Columns of a line of code, in characters. The formatter leaves long strings alone.
const COLUMNS_MAX: usize = 100;
/// Lines of a Rust file: what is longer has two purposes.
const LINES_MAX: usize = 500;
/// Rust files that may be longer, and why.
const LONG: [(&str, &str); 0] = [];

/// What is meant to be gone before a commit. In two parts, so that this file is clean itself.
const LEFTOVERS: [&str; 3] = [concat!("FIX", "ME"), concat!("XX", "X"), concat!("to", "do!")];

/// Folders of somebody's machine.
const FOLDERS: [&str; 2] = [concat!("/", "work"), concat!("/", "root")];
/// Where packages come from is a matter of the machine that builds.
const HOSTS: [&str; 6] = [
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("registry.npm", "js.org"),
    concat!("proxy.go", "lang.org"),
    concat!("deb.debian", ".org"),
];

/// Every Rust file opens with `//!`: what it is for.
pub fn opens_with_its_purpose(sources: &[Source]) -> Vec<String> {
    let rust = sources.iter().filter(|source| source.is_rust());
    let silent = rust.filter(|source| !source.text.starts_with("//!"));
    silent.map(|source| source.at(1, "the file does not open with //!")).collect()
}

/// Lines of code are not wider than `COLUMNS_MAX`.
pub fn columns(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust() || source.has_extension("proto"))
    {
        for (number, line) in source.numbered() {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX {
                broken.push(source.at(number, format_args!("{columns} columns")));
            }
        }
    }
    broken
}

/// Rust files are not longer than `LINES_MAX`.
pub fn lines(sources: &[Source]) -> Vec<String> {
    let is_excepted = |source: &&Source| LONG.iter().any(|(path, _)| *path == source.path);
    let rust = sources.iter().filter(|source| source.is_rust() && !is_excepted(source));
    rust.filter_map(|source| {
        let count = source.text.lines().count();
        (count > LINES_MAX).then(|| source.at(count, format_args!("{count} lines")))
    })
    .collect()
}

/// Nothing is left unfinished. Documents may talk about it.
pub fn leftovers(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources.iter().filter(|source| !source.has_extension("md")) {
        for (number, line) in source.numbered() {
            for leftover in LEFTOVERS.iter().filter(|leftover| has_word(line, leftover)) {
                broken.push(source.at(number, leftover));
            }
        }
    }
    broken
}

/// No file names a folder of one machine, or a host that packages come from. The lock file, which
/// cargo writes, does.
pub fn places(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources.iter().filter(|source| source.path != "Cargo.lock") {
        for (number, line) in source.numbered() {
            for folder in FOLDERS.iter().filter(|folder| names_folder(line, folder)) {
                broken.push(source.at(number, format_args!("a path below {folder}")));
            }
            for host in HOSTS.iter().filter(|host| line.contains(**host)) {
                broken.push(source.at(number, format_args!("the host {host}")));
            }
        }
    }
    broken
}

/// Whether a path in `line` begins with `folder`: not one that only goes through such a name.
fn names_folder(line: &str, folder: &str) -> bool {
    let goes_on = |c: char| c.is_alphanumeric() || "_-.~$}*".contains(c);
    line.match_indices(folder).any(|(at, _)| {
        let (before, rest) = line.split_at(at);
        let rest = &rest[folder.len()..];
        !before.ends_with(goes_on) && !rest.starts_with(|c: char| goes_on(c) && c != '.')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rule;

    fn broken(rule: Rule, path: &str, text: &str) -> Vec<String> {
        rule(&[Source::new(path, text)])
    }

    #[test]
    fn a_file_without_a_purpose() {
        let open = opens_with_its_purpose;
        assert_eq!(broken(open, "a.rs", "use x;\n"), ["a.rs:1: the file does not open with //!"]);
        assert!(broken(open, "a.rs", "//! Why.\n").is_empty());
        assert!(broken(open, "a.toml", "a = 1\n").is_empty());
    }

    #[test]
    fn a_line_too_wide() {
        let wide = format!("//! a\n{}\n", "é".repeat(COLUMNS_MAX + 1));
        assert_eq!(broken(columns, "a.rs", &wide), ["a.rs:2: 101 columns"]);
        assert_eq!(broken(columns, "a.proto", &wide).len(), 1);
        assert!(broken(columns, "a.md", &wide).is_empty());
        assert!(broken(columns, "a.rs", &"é".repeat(COLUMNS_MAX)).is_empty());
    }

    #[test]
    fn a_file_too_long() {
        assert_eq!(broken(lines, "a.rs", &"x\n".repeat(501)), ["a.rs:501: 501 lines"]);
        assert!(broken(lines, "a.rs", &"x\n".repeat(500)).is_empty());
    }

    #[test]
    fn something_left_unfinished() {
        for leftover in LEFTOVERS {
            let line = format!("ok();\n{leftover}();\n");
            assert_eq!(broken(leftovers, "a.rs", &line), [format!("a.rs:2: {leftover}")]);
            assert!(broken(leftovers, "a.md", &line).is_empty());
            assert!(broken(leftovers, "a.sh", &format!("x{leftover}")).is_empty());
        }
    }

    #[test]
    fn a_place_on_one_machine() {
        for folder in FOLDERS {
            let named = [format!("cd {folder}"), format!("\"{folder}/a\""), format!("({folder}.)")];
            for line in named {
                assert_eq!(broken(places, "a", &line), [format!("a:1: a path below {folder}")]);
            }
            let other = [format!("a{folder}"), format!("${{HOME}}{folder}"), format!("{folder}s")];
            for line in other {
                assert!(broken(places, "a", &line).is_empty(), "{line}");
            }
        }
    }

    #[test]
    fn a_host_of_packages() {
        for host in HOSTS {
            let line = format!("https://{host}/a");
            assert_eq!(broken(places, "a", &line), [format!("a:1: the host {host}")]);
            assert!(broken(places, "Cargo.lock", &line).is_empty());
        }
    }
}
