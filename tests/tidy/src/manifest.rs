//! What the core may depend on. That it can do no IO is not promised but built in: the crates that
//! could are not there.

use std::collections::{BTreeMap, BTreeSet};

use crate::Source;

const CORE: &str = "quorate-core";
const MANIFEST: &str = "host/core/Cargo.toml";
const LOCK: &str = "Cargo.lock";

/// What the core depends on. To add to it is a decision, not a convenience.
const ALLOWED: [&str; 10] = [
    "anyhow",
    "bytes",
    "crc32c",
    "imbl",
    "protobuf",
    "quorate-abi",
    "raft",
    "slog",
    "smallvec",
    "xxhash-rust",
];

/// What it must not even reach through others.
const NEVER: [&str; 6] = ["librocksdb-sys", "mio", "rocksdb", "tokio", "tonic", "wasmtime"];

/// The core depends on what it may, directly and through others.
pub fn core_dependencies(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources.iter().filter(|source| source.path == MANIFEST) {
        for (line, name) in dependencies(source) {
            if !ALLOWED.contains(&name.as_str()) {
                broken.push(source.at(line, format_args!("the core must not depend on {name}")));
            }
        }
    }
    for source in sources.iter().filter(|source| source.path == LOCK) {
        let reached = reached(&locked(&source.text), CORE);
        for name in NEVER.into_iter().filter(|name| reached.contains(name)) {
            broken.push(source.at(1, format_args!("the core reaches {name} through others")));
        }
    }
    broken
}

/// The names in all tables of dependencies, with their lines.
fn dependencies(manifest: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut within = false;
    for (number, line) in manifest.numbered() {
        let line = line.split('#').next().unwrap_or(line).trim();
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            within = table.ends_with("dependencies");
            // A table of one dependency, such as `[dependencies.bytes]`.
            if let Some((_, name)) = table.rsplit_once("dependencies.") {
                found.push((number, name.to_owned()));
            }
        } else if within && let Some((key, _)) = line.split_once('=') {
            let name = key.split('.').next().unwrap_or(key);
            found.push((number, name.trim().trim_matches('"').to_owned()));
        }
    }
    found
}

type Packages<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// The packages of a lock file and what each depends on, by name. Versions are taken together,
/// which may show too much and never too little.
fn locked(lock: &str) -> Packages<'_> {
    let mut packages = Packages::new();
    for package in lock.split("[[package]]") {
        let name = package.lines().find_map(|line| line.strip_prefix("name = "));
        let Some(name) = name.map(|name| name.trim_matches('"')) else { continue };
        let list = package.split_once("dependencies = [").map_or("", |(_, list)| list);
        let list = list.split(']').next().unwrap_or(list);
        let names = list.lines().filter_map(|line| {
            let name = line.trim().trim_matches([',', '"']).split(' ').next()?;
            (!name.is_empty()).then_some(name)
        });
        packages.entry(name).or_default().extend(names);
    }
    packages
}

fn reached<'a>(packages: &Packages<'a>, from: &'a str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(name) = next.pop() {
        if reached.insert(name) {
            next.extend(packages.get(name).into_iter().flatten());
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, text: &str) -> Vec<String> {
        core_dependencies(&[Source::new(path, text)])
    }

    #[test]
    fn a_dependency_that_is_not_allowed() {
        let cases = [
            "[dependencies]\ntokio = \"1\"",
            "[dependencies]\ntokio.workspace = true",
            "[dev-dependencies]\n\"tokio\" = { workspace = true }",
            "[target.'cfg(unix)'.build-dependencies]\ntokio = \"1\"",
            "[package]\n[dependencies.tokio]",
        ];
        for text in cases {
            let expected = ["host/core/Cargo.toml:2: the core must not depend on tokio"];
            assert_eq!(broken(MANIFEST, text), expected, "{text}");
            assert!(broken("host/Cargo.toml", text).is_empty());
        }
        let fine = "[package]\nname = \"tokio\"\n[dependencies]\n# tokio = 1\nbytes = \"1\"";
        assert!(broken(MANIFEST, fine).is_empty());
    }

    #[test]
    fn a_dependency_by_way_of_another() {
        let lock = "version = 4\n\n[[package]]\nname = \"quorate-core\"\ndependencies = [\n \
                    \"raft 0.7.0\",\n]\n\n[[package]]\nname = \"raft\"\ndependencies = [\n \
                    \"tokio\",\n]\n\n[[package]]\nname = \"other\"\ndependencies = [\n \
                    \"wasmtime\",\n]\n";
        assert_eq!(broken(LOCK, lock), ["Cargo.lock:1: the core reaches tokio through others"]);
        assert!(broken(LOCK, &lock.replace("tokio", "bytes")).is_empty());
    }
}
