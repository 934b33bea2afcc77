//! The gate: what a module must look like before anything of it is compiled or run. Decided from
//! its bytes alone, so on every node alike.
//!
//! It looks for all that is wrong, not for the first thing: an author sees the whole list.

use std::fmt;

use quorate_abi::{IMPORT_MODULE, MANIFEST_SECTION, export, import};
use quorate_core::limits;
use rustc_demangle::demangle;
use sha2::Digest as _;
use wasmparser::types::{EntityType, TypesRef};
use wasmparser::{KnownCustom, Name, Parser, Payload, ValType, Validator};

use crate::engine::FEATURES;
use crate::manifest::Manifest;
use crate::refusal::Refusal;

/// Functions of a module: far more than a plugin has, and few enough to compile.
const FUNCTIONS_MAX: u64 = 50_000;
/// The code of one function. The time that the compiler takes grows faster than this does.
const FUNCTION_BYTES_MAX: u64 = 512 * 1024;
/// Local variables of one function.
const LOCALS_MAX: u64 = 10_000;
/// Globals of a module.
const GLOBALS_MAX: u64 = 1_000;
/// Data segments, and element segments.
const SEGMENTS_MAX: u64 = 10_000;
/// Imports, and exports.
const NAMES_MAX: u64 = 1_000;
/// Tables; the pool has room for one.
const TABLES_MAX: u64 = 1;

const PAGE_BYTES: u64 = 64 * 1024;
const MAGIC: &[u8] = b"\0asm";

/// The name of a module: the SHA-256 of its bytes. Shown in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What the gate saw.
#[derive(Clone, Debug)]
pub struct Report {
    /// The module's name.
    pub digest: Digest,
    /// Its size.
    pub bytes: usize,
    /// What it imports: module, name and type.
    pub imports: Vec<String>,
    /// What it exports: name and type.
    pub exports: Vec<String>,
    /// What it says of itself, if that can be read.
    pub manifest: Option<Manifest>,
    /// Why it cannot be used; empty when it can.
    pub refusals: Vec<Refusal>,
}

/// Looks at a module without running any of it.
pub fn inspect(wasm: &[u8]) -> Report {
    let mut report = Report {
        digest: Digest(sha2::Sha256::digest(wasm).into()),
        bytes: wasm.len(),
        imports: Vec::new(),
        exports: Vec::new(),
        manifest: None,
        refusals: Vec::new(),
    };
    if wasm.len() > limits::MODULE_BYTES_MAX {
        report.limit("bytes", wasm.len() as u64, limits::MODULE_BYTES_MAX as u64);
    } else if !wasm.starts_with(MAGIC) {
        report.refuse(Refusal::NotWasm);
    } else if let Err(error) = report.walk(wasm) {
        report.refuse(Refusal::Invalid { reason: error.to_string() });
    }
    report
}

/// The names of a module's functions, as far as it has kept them; for people, not for decisions.
pub fn functions(wasm: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let sections = Parser::new(0).parse_all(wasm).map_while(Result::ok);
    for section in sections {
        let Payload::CustomSection(section) = section else { continue };
        let KnownCustom::Name(subsections) = section.as_known() else { continue };
        for subsection in subsections.into_iter().map_while(Result::ok) {
            let Name::Function(functions) = subsection else { continue };
            let functions = functions.into_iter().map_while(Result::ok);
            names.extend(functions.map(|function| format!("{:#}", demangle(function.name))));
        }
    }
    names
}

impl Report {
    fn refuse(&mut self, refusal: Refusal) {
        self.refusals.push(refusal);
    }

    fn limit(&mut self, what: &'static str, found: u64, max: u64) {
        if found > max {
            self.refuse(Refusal::TooMany { what, found, max });
        }
    }

    /// Checks a valid module; an error says that it is not valid.
    fn walk(&mut self, wasm: &[u8]) -> wasmparser::Result<()> {
        let types = Validator::new_with_features(FEATURES).validate_all(wasm)?;
        let types = types.as_ref();
        let mut manifests = Vec::new();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        self.import(types, &import?);
                    }
                }
                Payload::CodeSectionEntry(body) => {
                    let range = body.range();
                    self.limit("bytes in one function", range.len() as u64, FUNCTION_BYTES_MAX);
                    let mut locals = 0;
                    for group in body.get_locals_reader()? {
                        locals += u64::from(group?.0);
                    }
                    self.limit("local variables in one function", locals, LOCALS_MAX);
                }
                Payload::StartSection { .. } => self.refuse(Refusal::StartFunction),
                Payload::DataSection(section) => {
                    self.limit("data segments", section.count().into(), SEGMENTS_MAX);
                }
                Payload::CustomSection(section) if section.name() == MANIFEST_SECTION => {
                    manifests.push(section.data());
                }
                _ => {}
            }
        }
        self.counts(types);
        self.memory_and_tables(types);
        self.exports(types);
        match manifests[..] {
            [] => self.refuse(Refusal::NoManifest),
            [section] => self.manifest = Manifest::read(section, &mut self.refusals),
            _ => self.refuse(Refusal::SeveralManifests),
        }
        Ok(())
    }

    fn import(&mut self, types: TypesRef<'_>, import: &wasmparser::Import<'_>) {
        let entity = types.entity_type_from_import(import);
        let found = entity.map_or_else(|| "unknown".to_owned(), |entity| describe(types, entity));
        self.imports.push(format!("{}.{} {found}", import.module, import.name));
        let known = import::SIGNATURES
            .iter()
            .find(|(name, ..)| import.module == IMPORT_MODULE && import.name == *name);
        let Some(&(_, params, returns)) = known else {
            let (module, name) = (import.module.to_owned(), import.name.to_owned());
            return self.refuse(Refusal::UnknownImport { module, name });
        };
        let results: &[_] = if returns { &[ValType::I64] } else { &[] };
        let expected = signature(&vec![ValType::I32; params], results);
        if found != expected {
            self.refuse(Refusal::ImportType { name: import.name.to_owned(), expected, found });
        }
    }

    fn counts(&mut self, types: TypesRef<'_>) {
        self.limit("functions", types.function_count().into(), FUNCTIONS_MAX);
        self.limit("globals", types.global_count().into(), GLOBALS_MAX);
        self.limit("element segments", types.element_count().into(), SEGMENTS_MAX);
        self.limit("imports", self.imports.len() as u64, NAMES_MAX);
    }

    fn memory_and_tables(&mut self, types: TypesRef<'_>) {
        // An imported memory is refused as an import.
        if types.memory_count() != 1 {
            self.refuse(Refusal::MemoryCount { found: types.memory_count() });
        }
        for index in 0..types.memory_count() {
            let bytes = types.memory_at(index).initial.saturating_mul(PAGE_BYTES);
            self.limit("bytes of memory", bytes, limits::GUEST_MEMORY_BYTES_MAX as u64);
        }
        self.limit("tables", types.table_count().into(), TABLES_MAX);
        for index in 0..types.table_count() {
            let elements = types.table_at(index).initial;
            self.limit("table elements", elements, limits::GUEST_TABLE_ELEMENTS_MAX as u64);
        }
    }

    fn exports(&mut self, types: TypesRef<'_>) {
        let exports: Vec<(&str, String)> = types
            .core_exports()
            .into_iter()
            .flatten()
            .map(|(name, entity)| (name, describe(types, entity)))
            .collect();
        self.limit("exports", exports.len() as u64, NAMES_MAX);
        let function = || signature(&[], &[]);
        let required = [
            (export::MEMORY, MEMORY.to_owned()),
            (export::ABI_MARKER, function()),
            (export::APPLY, function()),
            (export::QUERY, function()),
        ];
        for (name, expected) in required {
            match exports.iter().find(|(exported, _)| *exported == name) {
                None => self.refuse(Refusal::MissingExport { name }),
                Some((_, found)) if *found != expected => {
                    let found = found.clone();
                    self.refuse(Refusal::ExportType { name, expected, found });
                }
                Some(_) => {}
            }
        }
        self.exports = exports.iter().map(|(name, ty)| format!("{name} {ty}")).collect();
    }
}

const MEMORY: &str = "a memory";

fn describe(types: TypesRef<'_>, entity: EntityType) -> String {
    match entity {
        EntityType::Func(id) | EntityType::FuncExact(id) => {
            let function = types[id].unwrap_func();
            signature(function.params(), function.results())
        }
        EntityType::Table(_) => "a table".to_owned(),
        EntityType::Memory(_) => MEMORY.to_owned(),
        EntityType::Global(_) => "a global".to_owned(),
        EntityType::Tag(_) => "a tag".to_owned(),
    }
}

/// A function's type for people, such as `(i32, i32) -> i64`.
fn signature(params: &[ValType], results: &[ValType]) -> String {
    let list =
        |types: &[ValType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match results {
        [] => format!("({})", list(params)),
        [one] => format!("({}) -> {one}", list(params)),
        several => format!("({}) -> ({})", list(params), list(several)),
    }
}
