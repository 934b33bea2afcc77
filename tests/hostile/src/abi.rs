//! The ABI as generators write it: the imports in one order, and the indexes that follow from it.

use quorate_abi::{IMPORT_MODULE, MANIFEST_SECTION, export, import};
use wasm_encoder::{
    CustomSection, EntityType, ExportKind, ExportSection, ImportSection, MemArg, MemorySection,
    MemoryType, Module, TypeSection, ValType,
};

/// All imports. An import's place here is its function index, and the index of its signature, in
/// all modules that are written here.
pub const IMPORTS: [(&str, usize, bool); 8] = import::SIGNATURES;

/// Function indexes of the imports.
pub mod call {
    /// `next`
    pub const NEXT: u32 = 0;
    /// `kv_get`
    pub const GET: u32 = 1;
    /// `kv_put`
    pub const PUT: u32 = 2;
    /// `kv_delete`
    pub const DELETE: u32 = 3;
    /// `kv_delete_range`
    pub const DELETE_RANGE: u32 = 4;
    /// `kv_scan`
    pub const SCAN: u32 = 5;
    /// `log`
    pub const LOG: u32 = 6;
    /// `abort`
    pub const ABORT: u32 = 7;
}

/// Type indexes behind those of the imports.
pub mod signature {
    /// Takes and returns nothing.
    pub const NOTHING: u32 = 8;
    /// What the driver calls: `(i32, i64) -> i64`.
    pub const DRIVEN: u32 = 9;
    /// `(i32)`
    pub const NUMBER: u32 = 10;
}

/// Functions that are imported.
pub const IMPORTED: u32 = 8;
/// Bytes of a page of memory.
pub const PAGE_BYTES: u32 = 65_536;

/// Where guests here have the frame of a call.
pub const FRAME: u32 = 1024;
/// Where the frame has the method called.
pub const METHOD: u32 = FRAME + 28;
/// Where the frame has the payload.
pub const PAYLOAD: u32 = FRAME + 40;

/// A key under which a guest may count its own calls: for each import, in the order of [`IMPORTS`],
/// a `u32` of how often it came back. Only with it is it known that calls get that far.
pub const COUNTS_KEY: &[u8; 8] = b"\xffcounts\xff";

/// The signatures of the imports, then those of [`signature`].
pub fn types() -> TypeSection {
    let mut types = TypeSection::new();
    for (_, params, returns) in IMPORTS {
        let results = if returns { vec![ValType::I64] } else { Vec::new() };
        types.ty().function(vec![ValType::I32; params], results);
    }
    types.ty().function([], []);
    types.ty().function([ValType::I32, ValType::I64], [ValType::I64]);
    types.ty().function([ValType::I32], []);
    types
}

/// All imports. The first one has the signature of number `next`, which should be its own.
pub fn imports(next: u32) -> ImportSection {
    let mut imports = ImportSection::new();
    for (index, (name, ..)) in (0..).zip(IMPORTS) {
        let signature = if index == call::NEXT { next } else { index };
        imports.import(IMPORT_MODULE, name, EntityType::Function(signature));
    }
    imports
}

/// A memory of so many pages.
pub fn memory(minimum: u64, maximum: Option<u64>) -> MemorySection {
    let mut memories = MemorySection::new();
    let (memory64, shared, page_size_log2) = (false, false, None);
    memories.memory(MemoryType { minimum, maximum, memory64, shared, page_size_log2 });
    memories
}

/// What every guest exports, with these functions.
pub fn exports(marker: u32, apply: u32, query: u32) -> ExportSection {
    let mut exports = ExportSection::new();
    exports
        .export(export::MEMORY, ExportKind::Memory, 0)
        .export(export::ABI_MARKER, ExportKind::Func, marker)
        .export(export::APPLY, ExportKind::Func, apply)
        .export(export::QUERY, ExportKind::Func, query);
    exports
}

/// Adds a manifest.
pub fn add_manifest(module: &mut Module, manifest: &[u8]) {
    module.section(&CustomSection { name: MANIFEST_SECTION.into(), data: manifest.into() });
}

/// What an instruction that reaches memory says, when it adds nothing to the address.
pub fn plain() -> MemArg {
    at(0)
}

/// What such an instruction says, when it adds `offset`.
pub fn at(offset: u32) -> MemArg {
    MemArg { offset: offset.into(), align: 0, memory_index: 0 }
}

/// A number as WebAssembly's constants have it: the same bits with a sign.
pub fn bits(number: u32) -> i32 {
    number.cast_signed()
}
