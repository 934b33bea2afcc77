//! The modules of the plugins under test: each is compiled once in a process, and only if a test
//! asks for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::{env, fs};

use quorate_toolchain::{BuildRequest, Toolchain, shared_target_dir};
use quorate_wasm::Module;

type Loaded = Result<Arc<Module>, String>;

/// The module of the plugin in that folder.
pub(crate) fn of(crate_dir: &'static str) -> Arc<Module> {
    static LOADED: Mutex<BTreeMap<&str, Loaded>> = Mutex::new(BTreeMap::new());
    // Who comes second waits for the first; who fails has said why.
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let module = loaded.entry(crate_dir).or_insert_with(|| load(crate_dir));
    match module {
        Ok(module) => Arc::clone(module),
        Err(problem) => panic!("{crate_dir}: {problem}"),
    }
}

/// A file to take in place of the plugin's own module: one with the same services from another
/// language, or of another version.
const MODULE: &str = "QUORATE_MODULE";

fn load(crate_dir: &str) -> Loaded {
    if let Some(file) = env::var_os(MODULE) {
        let wasm = fs::read(&file).map_err(|error| format!("{MODULE}: {error}"))?;
        return Module::load(&wasm).map_err(|error| error.to_string());
    }
    if crate_dir.is_empty() {
        return Err("only a plugin of `quorate_sdk::plugin!` has a module".to_owned());
    }
    let toolchain = Toolchain::find(Path::new(crate_dir)).map_err(|error| error.to_string())?;
    let request = BuildRequest::new(crate_dir, target_dir());
    let built = toolchain.build(&request).map_err(|error| error.to_string())?;
    Module::load(&built.wasm).map_err(|error| error.to_string())
}

/// Beside the profiles' folders, if somebody has built modules there before: clones do not get in
/// each other's way then. Else that of all plugins, where the standard library is built once.
fn target_dir() -> PathBuf {
    let own = env::current_exe().ok();
    let own = own.and_then(|exe| Some(exe.ancestors().nth(3)?.join("guest")));
    own.filter(|dir| dir.is_dir()).unwrap_or_else(shared_target_dir)
}
