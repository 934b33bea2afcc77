//! What a new crate says to cargo: its `Cargo.toml`, and the versions that it is locked to.
//!
//! Both are taken from the SDK's checkout, which has been tested with them: what the workspace says
//! of a dependency is written out, paths are made absolute, and of `Cargo.lock` those packages are
//! kept that the plugin reaches.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use toml::{Table, Value};

use super::names::Names;
use super::template::Template;

const VERSION: &str = "0.1.0";
/// What every crate ends with. The profile is that of the SDK's checkout: with its target folder,
/// tests find their dependencies built.
const TAIL: &str = "
[profile.release]
overflow-checks = true
debug = 1

# A workspace of its own, wherever this folder lies.
[workspace]
";
/// The tables of a plugin's manifest that are passed on; a test says when a template has others.
const DEPENDENCIES: [&str; 3] = ["dependencies", "build-dependencies", "dev-dependencies"];

/// A checkout of the repository.
#[derive(Debug)]
pub(super) struct Sdk {
    root: PathBuf,
    edition: String,
    dependencies: Table,
    lock: Option<Lock>,
}

#[derive(Debug)]
struct Lock {
    head: String,
    packages: Vec<Package>,
}

/// An entry of `Cargo.lock`.
#[derive(Debug)]
struct Package {
    name: String,
    version: String,
    dependencies: Vec<String>,
    text: String,
}

impl Sdk {
    /// The checkout in `dir`, or why it is none.
    pub(super) fn open(dir: &Path) -> Result<Self, String> {
        let root = fs::canonicalize(dir).map_err(|error| error.to_string())?;
        let no_checkout = || "it is no checkout of Quorate".to_owned();
        let text = fs::read_to_string(root.join("Cargo.toml")).map_err(|_| no_checkout())?;
        let mut manifest: Table = toml::from_str(&text).map_err(|_| no_checkout())?;
        let workspace = manifest.remove("workspace");
        let mut workspace = match workspace {
            Some(Value::Table(workspace)) if root.join("sdk/Cargo.toml").is_file() => workspace,
            _ => return Err(no_checkout()),
        };
        let edition = workspace.get("package").and_then(|package| package.get("edition"));
        let edition = edition.and_then(Value::as_str).unwrap_or("2024").to_owned();
        let Some(Value::Table(dependencies)) = workspace.remove("dependencies") else {
            return Err(no_checkout());
        };
        // Without one, cargo makes it at the first build.
        let lock = fs::read_to_string(root.join("Cargo.lock")).ok();
        let lock = lock.and_then(|text| Lock::parse(&text));
        Ok(Self { root, edition, dependencies, lock })
    }

    /// Whether a crate may be called so that has the SDK's dependencies.
    pub(super) fn check_name(&self, names: &Names) -> Result<(), String> {
        let mut packages = self.lock.iter().flat_map(|lock| &lock.packages);
        let is_taken = packages.any(|package| {
            let is_ours = package.name.starts_with("quorate-plugin-");
            !is_ours && package.name.replace('-', "_") == names.library
        });
        if is_taken {
            return Err(
                "a crate of that name is among the SDK's dependencies; choose another name"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// The versions that a plugin made from that template is locked to.
    pub(super) fn lock(&self, template: &Template, names: &Names) -> Option<String> {
        let lock = self.lock.as_ref()?;
        let old = format!("quorate-plugin-{}", template.name);
        let plugin = lock.packages.iter().find(|package| package.name == old)?;
        let mut reached = BTreeSet::new();
        let mut next: Vec<&str> = plugin.dependencies.iter().map(String::as_str).collect();
        while let Some(wanted) = next.pop() {
            for (index, package) in lock.packages.iter().enumerate() {
                if package.is(wanted) && reached.insert(index) {
                    next.extend(package.dependencies.iter().map(String::as_str));
                }
            }
        }
        let mut texts: BTreeMap<(&str, &str), String> = BTreeMap::new();
        for index in reached {
            let package = &lock.packages[index];
            texts.insert((&package.name, &package.version), package.text.clone());
        }
        let is = |name: &str, version: &str| format!("name = \"{name}\"\nversion = \"{version}\"");
        let text = plugin.text.replace(&is(&old, &plugin.version), &is(&names.package, VERSION));
        texts.insert((&names.package, VERSION), text);
        let texts: Vec<_> = texts.into_values().collect();
        Some(format!("{}\n{}\n", lock.head.trim_end(), texts.join("\n")))
    }

    /// What the workspace says of a dependency, written out.
    fn dependency(&self, name: &str, asked: &Value) -> anyhow::Result<Value> {
        if asked.get("workspace").is_none() {
            return Ok(asked.clone());
        }
        let known = self.dependencies.get(name);
        let known = known.with_context(|| format!("this checkout does not know {name}"))?;
        let mut table = match known {
            Value::Table(table) => table.clone(),
            version => Table::from_iter([("version".to_owned(), version.clone())]),
        };
        if let Some(Value::String(path)) = table.get_mut("path") {
            *path = self.root.join(&*path).display().to_string();
        }
        for (key, value) in asked.as_table().into_iter().flatten() {
            if key != "workspace" {
                table.insert(key.clone(), value.clone());
            }
        }
        Ok(Value::Table(table))
    }
}

impl Lock {
    fn parse(text: &str) -> Option<Self> {
        const ENTRY: &str = "\n[[package]]\n";
        let mut parts = text.split(ENTRY);
        let head = parts.next()?.to_owned();
        let packages: Option<_> = parts.map(|entry| Package::parse(entry.trim_end())).collect();
        Some(Self { head, packages: packages? })
    }
}

impl Package {
    fn parse(entry: &str) -> Option<Self> {
        let table: Table = toml::from_str(entry).ok()?;
        let text = |key: &str| table.get(key).and_then(Value::as_str).map(str::to_owned);
        let list = table.get("dependencies").and_then(Value::as_array);
        let names = list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
        Some(Self {
            name: text("name")?,
            version: text("version")?,
            dependencies: names.collect(),
            text: format!("\n[[package]]\n{entry}"),
        })
    }

    /// Whether a dependency means it: by its name, and its version where there are several.
    fn is(&self, wanted: &str) -> bool {
        let mut words = wanted.split(' ');
        words.next() == Some(&self.name)
            && words.next().is_none_or(|version| version == self.version)
    }
}

/// The crate's `Cargo.toml`.
pub(super) fn manifest(template: &Template, names: &Names, sdk: &Sdk) -> anyhow::Result<String> {
    let own: Table = toml::from_str(template.file("Cargo.toml").unwrap_or_default())?;
    let Sdk { edition, .. } = sdk;
    let Names { package, .. } = names;
    let mut out = format!(
        "[package]\nname = \"{package}\"\nversion = \"{VERSION}\"\nedition = \"{edition}\"\n\
         publish = false\n\n[lib]\n# The module that nodes run, and a Rust library for the tests.\n\
         crate-type = [\"cdylib\", \"rlib\"]\ndoctest = false\n"
    );
    for kind in DEPENDENCIES {
        let asked = own.get(kind).and_then(Value::as_table).into_iter().flatten();
        let mut lines = String::new();
        for (name, asked) in asked {
            writeln!(lines, "{name} = {}", sdk.dependency(name, asked)?)?;
        }
        if !lines.is_empty() {
            write!(out, "\n[{kind}]\n{lines}")?;
        }
    }
    out.push_str(TAIL);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::template::{self, TEMPLATES};
    use super::super::{CHECKOUT, files};
    use super::*;

    fn sdk() -> Sdk {
        Sdk::open(Path::new(CHECKOUT)).unwrap()
    }

    #[test]
    fn every_template_becomes_a_crate() {
        assert!(TEMPLATES.len() >= 3);
        for template in TEMPLATES {
            let name = template.name;
            let own: Table = toml::from_str(template.file("Cargo.toml").unwrap()).unwrap();
            let known = ["package", "lib", "lints"].iter().chain(&DEPENDENCIES);
            let known: BTreeSet<_> = known.copied().collect();
            assert!(own.keys().all(|key| known.contains(key.as_str())), "{name}: {own:?}");
            assert!(template.file("README.md").is_some_and(|text| text.contains("quorate call")));

            let names = Names::new("ticket-desk", template).unwrap();
            let files = files(template, &names, &sdk()).unwrap();
            let file = |path: &str| &files.iter().find(|(found, _)| found == path).unwrap().1;
            assert!(file("src/lib.rs").contains("quorate_sdk::plugin!(impl TicketDesk"), "{name}");
            let proto = file("proto/ticket_desk/v1/ticket_desk.proto");
            assert!(proto.contains("\npackage ticket_desk.v1;\n"), "{name}");
            assert!(proto.contains("\nservice TicketDesk {\n"), "{name}");
            assert!(file("build.rs").contains("proto/ticket_desk/v1/ticket_desk.proto"), "{name}");
            let made: Table = toml::from_str(file("Cargo.toml")).unwrap();
            let sdk = made["dependencies"]["quorate-sdk"]["path"].as_str().unwrap();
            assert!(Path::new(sdk).join("Cargo.toml").is_file(), "{sdk}");
            assert!(!file("Cargo.toml").contains("workspace ="), "{name}");
        }
    }

    #[test]
    fn the_lock_has_what_the_plugin_reaches() {
        let counter = template::find("counter").unwrap();
        let lock = sdk().lock(counter, &Names::new("zebra", counter).unwrap()).unwrap();
        let whole = sdk().lock.unwrap();
        let lock = Lock::parse(&lock).unwrap();
        assert_eq!(lock.head.trim_end(), whole.head.trim_end());
        let has = |name: &str| lock.packages.iter().any(|package| package.name == name);
        assert!(has("zebra") && has("quorate-sdk") && has("prost") && has("protox"));
        assert!(!has("rocksdb") && !has("quorate-plugin-counter"));
        assert!(lock.packages.is_sorted_by_key(|package| package.name.clone()));
        for package in &lock.packages {
            for wanted in &package.dependencies {
                assert!(lock.packages.iter().any(|found| found.is(wanted)), "{wanted}");
            }
        }
    }
}
