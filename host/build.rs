//! Lists the files of all plugins, which `quorate new` makes crates from.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let host = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let root = host.parent().ok_or("the host's crate lies in the workspace")?;
    let plugins = root.join("plugins");
    println!("cargo:rerun-if-changed={}", plugins.display());
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("templates.rs"), templates(&plugins)?)?;
    Ok(())
}

/// Rust for a slice of templates: every crate in `plugins`, with all of its sources.
fn templates(plugins: &Path) -> Result<String, Box<dyn Error>> {
    let mut code = "&[\n".to_owned();
    for plugin in entries(plugins)? {
        if !plugin.join("Cargo.toml").is_file() {
            continue;
        }
        let name = plugin.file_name().ok_or("an entry has a name")?.to_string_lossy().into_owned();
        writeln!(code, "Template {{ name: {name:?}, files: &[")?;
        let mut folders = vec![plugin.clone()];
        while let Some(folder) = folders.pop() {
            for path in entries(&folder)? {
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let within = path.strip_prefix(&plugin)?.display().to_string();
                    writeln!(code, "({within:?}, include_str!({:?})),", path.display())?;
                }
            }
        }
        code.push_str("] },\n");
    }
    code.push_str("]\n");
    Ok(code)
}

/// What is in a folder, in order, without what tools have made there.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_made = name.starts_with('.')
            || ["target", "Cargo.lock", "proptest-regressions"].contains(&name.as_str())
            || path.extension().is_some_and(|extension| extension == "wasm");
        if !is_made {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
