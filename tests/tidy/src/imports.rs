//! Who may know whom.

use crate::{Source, has_word};

/// Crates whose words stop at some modules of a folder.
struct Reserved {
    folder: &'static str,
    crates: &'static [&'static str],
    /// Modules, as paths without `.rs`; what lies below them is included.
    homes: &'static [&'static str],
}

const RESERVED: [Reserved; 6] = [
    Reserved {
        folder: "host/src/",
        crates: &["tonic", "tonic_health", "tonic_prost", "tonic_reflection", "tonic_types"],
        homes: &[
            "host/src/rpc",
            "host/src/peers",
            "host/src/bench/client",
            "host/src/cli/call",
            "host/src/cli/admin",
            "host/src/cli/connect",
            "host/src/cli/snapshot/save",
        ],
    },
    Reserved { folder: "host/src/", crates: &["rocksdb", "protobuf"], homes: &["host/src/rocks"] },
    Reserved { folder: "host/src/", crates: &["wasmtime", "wasmparser"], homes: &[] },
    Reserved { folder: "host/src/", crates: &["raft"], homes: &[] },
    Reserved {
        folder: "host/core/src/",
        crates: &["raft"],
        homes: &["host/core/src/replica", "host/core/src/log"],
    },
    Reserved {
        folder: "host/core/src/",
        crates: &["protobuf", "slog"],
        homes: &["host/core/src/replica"],
    },
];

/// Modules of the core that do not know others: consensus does not know apply, nor apply consensus.
const APART: [(&[&str], &[&str]); 2] =
    [(&["replica"], &["machine", "run", "state"]), (&["machine", "run", "state"], &["replica"])];
const CORE: &str = "host/core/src/";

/// A foreign vocabulary stops at the modules that it is kept in.
pub fn reserved_crates(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for reserved in &RESERVED {
        let strangers = sources.iter().filter(|source| {
            let is_home = reserved.homes.iter().any(|home| source.is_of(home));
            source.is_rust() && source.path.starts_with(reserved.folder) && !is_home
        });
        for source in strangers {
            for (number, code) in source.code() {
                for name in reserved.crates.iter().filter(|name| names_crate(code, name)) {
                    let homes = reserved.homes.join(" and ");
                    let what = format_args!("only {homes} may name the crate {name}");
                    broken.push(source.at(number, what));
                }
            }
        }
    }
    broken
}

/// In a path, `name::`, or in an import.
fn names_crate(code: &str, name: &str) -> bool {
    let begins_path = code.match_indices(&format!("{name}::")).any(|(at, _)| {
        !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
    });
    let import = code.trim_start().trim_start_matches("pub ").strip_prefix("use ");
    let import = import.or_else(|| code.trim_start().strip_prefix("extern crate "));
    begins_path || import.is_some_and(|import| import.starts_with(name) && has_word(import, name))
}

/// Consensus and apply do not know each other.
pub fn directions(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for (modules, strangers) in APART {
        let own = |source: &&Source| {
            modules.iter().any(|module| source.is_of(&format!("{CORE}{module}")))
        };
        for source in sources.iter().filter(own) {
            for (number, module) in modules_named(source) {
                if strangers.contains(&module.as_str()) {
                    let what = format_args!("{} must not know {module}", modules.join(" and "));
                    broken.push(source.at(number, what));
                }
            }
        }
    }
    broken
}

/// The modules that follow `crate::` or `super::`, singly or in a group, with their lines.
fn modules_named(source: &Source) -> Vec<(usize, String)> {
    let code: String = source.code().flat_map(|(_, line)| [line, "\n"]).collect();
    let mut found = Vec::new();
    for prefix in ["crate::", "super::"] {
        for (at, _) in code.match_indices(prefix) {
            let line = code[..at].matches('\n').count() + 1;
            let rest = &code[at + prefix.len()..];
            found.extend(heads(rest).into_iter().map(|head| (line, head)));
        }
    }
    found
}

/// The first names of the paths that `rest` begins with: one, or those of a group in braces.
fn heads(rest: &str) -> Vec<String> {
    let name = |text: &str| {
        let text = text.trim_start();
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        text[..end].to_owned()
    };
    let Some(group) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let mut heads = vec![name(group)];
    let mut depth = 1;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' if depth == 1 => heads.push(name(&group[at + 1..])),
            _ => {}
        }
    }
    heads
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(rule: crate::Rule, path: &str, text: &str) -> Vec<String> {
        rule(&[Source::new(path, text)])
    }

    #[test]
    fn a_crate_outside_of_its_home() {
        let cases = [
            ("host/src/node.rs", "use tonic::Status;"),
            ("host/src/node.rs", "    let s: tonic::Status = x;"),
            ("host/src/cli/dev.rs", "use tonic_health::pb;"),
            ("host/src/node.rs", "pub use rocksdb::DB;"),
            ("host/src/rocksy.rs", "rocksdb::DB::open()"),
            ("host/src/peers.rs", "use wasmtime;"),
            ("host/src/consensus.rs", "use raft::RawNode;"),
            ("host/core/src/machine.rs", "use raft::eraftpb::Entry;"),
            ("host/core/src/log.rs", "use protobuf::Message as _;"),
        ];
        for (path, line) in cases {
            let found = broken(reserved_crates, path, &format!("//! A.\n{line}\n"));
            assert_eq!(found.len(), 1, "{path}: {line}");
            assert!(found[0].starts_with(&format!("{path}:2: only ")), "{found:?}");
        }
    }

    #[test]
    fn a_crate_at_home_or_only_spoken_of() {
        let cases = [
            ("host/src/rpc.rs", "use tonic::Status;"),
            ("host/src/peers/link.rs", "use tonic::Status;"),
            ("host/src/cli/call/text.rs", "use tonic::Status;"),
            ("host/benches/put.rs", "use tonic::Status;"),
            ("host/core/src/replica/reads.rs", "use raft::StateRole;"),
            ("host/src/node.rs", "// use tonic::Status;"),
            ("host/src/node.rs", "#[value(name = \"rocksdb\")]"),
            ("host/src/node.rs", "use quorate_core::raft::x;"),
            ("host/src/node.rs", "use rafting;"),
        ];
        for (path, line) in cases {
            let found = broken(reserved_crates, path, line);
            assert!(found.is_empty(), "{path}: {line}: {found:?}");
        }
    }

    #[test]
    fn consensus_that_knows_apply_and_the_reverse() {
        let cases = [
            ("replica.rs", "use crate::machine::Machine;", "machine"),
            ("replica/reads.rs", "let x = crate::state::Meta::default();", "state"),
            ("replica/tests.rs", "use crate::{\n    batch::{self, Batch},\n    run,\n};", "run"),
            ("replica.rs", "use super::run;", "run"),
            ("machine.rs", "use crate::replica::Status;", "replica"),
            ("state/conformance.rs", "use super::super::replica::Status;", "replica"),
        ];
        for (file, text, module) in cases {
            let found = broken(directions, &format!("host/core/src/{file}"), text);
            assert_eq!(found.len(), 1, "{file}: {text}: {found:?}");
            assert!(found[0].ends_with(&format!("must not know {module}")), "{found:?}");
        }
    }

    #[test]
    fn what_both_may_know() {
        let cases = [
            ("replica.rs", "use crate::{batch::{run, state}, log};"),
            ("replica.rs", "//! See [`machine`](crate::machine)."),
            ("replica.rs", "let state = self.state;"),
            ("machine.rs", "use crate::state::Meta;"),
            ("lib.rs", "pub mod replica;\nuse crate::replica::Status;"),
        ];
        for (file, text) in cases {
            let found = broken(directions, &format!("host/core/src/{file}"), text);
            assert!(found.is_empty(), "{file}: {text}: {found:?}");
        }
    }
}
