//! What may make a plugin decide one way here and another way there, as far as one can see it
//! without running: functions that the module contains, and words in its sources.
//!
//! What this deliberately does not do: understand code. It says where to look, and is wrong at
//! times in both directions. Imports of clocks and random numbers need no mention here: the gate
//! refuses them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hazard {
    /// Where: a function of the module, or a line of a source.
    pub(super) place: String,
    pub(super) what: &'static str,
}

const HASHES: &str =
    "a hash table has another order each time: use a BTreeMap or BTreeSet, or never go through it";
const CLOCK: &str = "there is no clock in here, this panics: use the context's time_ms()";
const RANDOM: &str = "random numbers differ between nodes: use the context's seed()";
const STATIC: &str = "what a static remembers is not in the state, and gone with the instance";

/// Parts of the names of functions, and what they are a sign of.
const IN_FUNCTIONS: [(&str, &str); 7] = [
    ("std::hash::random::RandomState", HASHES),
    ("hashmap_random_keys", HASHES),
    ("hashbrown::", HASHES),
    ("std::time::SystemTime::now", CLOCK),
    ("std::time::Instant::now", CLOCK),
    ("getrandom::", RANDOM),
    ("fastrand::", RANDOM),
];

/// Words in sources, and what they are a sign of.
const IN_SOURCES: [(&str, &str); 13] = [
    ("HashMap", HASHES),
    ("HashSet", HASHES),
    ("RandomState", HASHES),
    ("SystemTime", CLOCK),
    ("Instant", CLOCK),
    ("getrandom", RANDOM),
    ("thread_rng", RANDOM),
    ("fastrand", RANDOM),
    ("thread_local", STATIC),
    ("static mut", STATIC),
    ("AtomicU64", STATIC),
    ("AtomicUsize", STATIC),
    ("OnceLock", STATIC),
];

/// Signs in the names of a module's functions; one of each kind.
pub(super) fn in_functions(functions: &[String]) -> Vec<Hazard> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (part, what) in IN_FUNCTIONS {
        let function = functions.iter().find(|function| function.contains(part));
        if let Some(function) = function.filter(|_| seen.insert(what)) {
            found.push(Hazard { place: format!("function {function}"), what });
        }
    }
    found
}

/// Signs in the sources of a crate.
pub(super) fn in_sources(dir: &Path) -> Vec<Hazard> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        // What cannot be read was not built either.
        for entry in fs::read_dir(dir.join(&folder)).into_iter().flatten().flatten() {
            let path = folder.join(entry.file_name());
            if entry.path().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && let Ok(text) = fs::read_to_string(entry.path())
            {
                in_source(&path, &text, &mut found);
            }
        }
    }
    found.sort();
    found
}

fn in_source(path: &Path, text: &str, found: &mut Vec<Hazard>) {
    for (number, line) in (1..).zip(text.lines()) {
        // Tests are native, and come last in a file.
        if line.trim() == "#[cfg(test)]" {
            return;
        }
        let code = line.split("//").next().unwrap_or(line);
        let is_import = code.trim_start().starts_with("use ");
        for (_, what) in IN_SOURCES.iter().filter(|(word, _)| !is_import && has_word(code, word)) {
            let hazard = Hazard { place: format!("{}:{number}", path.display()), what };
            if !found.contains(&hazard) {
                found.push(hazard);
            }
        }
    }
}

fn has_word(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(is_part) && !code[at + word.len()..].starts_with(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_in_sources_are_found_where_code_is() {
        let text = "//! A HashMap.\nuse std::collections::HashMap;\nfn f() { HashMap::new(); }\n\
                    // HashSet\nstatic mut N: u8 = 0;\nlet instant = MyHashMap;\nInstant::now();\n\
                    #[cfg(test)]\nmod tests { HashSet }\n";
        let mut found = Vec::new();
        in_source(Path::new("src/a.rs"), text, &mut found);
        let places: Vec<_> = found.iter().map(|hazard| (&*hazard.place, hazard.what)).collect();
        assert_eq!(places, [("src/a.rs:3", HASHES), ("src/a.rs:5", STATIC), ("src/a.rs:7", CLOCK)]);
    }

    #[test]
    fn signs_in_functions_are_told_once() {
        let functions = ["a", "hashbrown::map::HashMap<K,V>::insert", "hashbrown::raw::x"];
        let functions = functions.map(str::to_owned);
        let found = in_functions(&functions);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].place, "function hashbrown::map::HashMap<K,V>::insert");
    }
}
