//! `quorate new`: a plugin's crate, made from one of the repository's own plugins under another
//! name.
//!
//! What this deliberately does not do: fetch anything, or run cargo. The crate depends on the SDK
//! by its path, and takes over the versions that the SDK's checkout has locked.

mod manifest;
mod names;
mod template;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use self::manifest::Sdk;
use self::names::Names;
use self::template::{TEMPLATES, Template};
use super::{Failure, Output, program, say, usage};

/// The checkout that this binary was built from, if it is still there.
const CHECKOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const GIT_IGNORE: &str = "/target\n*.wasm\n";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The folder to make; its last part is the plugin's name, such as ticket-desk
    #[arg(value_name = "NAME")]
    folder: PathBuf,
    /// What to begin with
    #[arg(long, default_value = "counter", value_name = "TEMPLATE",
        value_parser = PossibleValuesParser::new(TEMPLATES.iter().map(|template| template.name)))]
    template: String,
    /// A checkout of Quorate, whose SDK the plugin is to use [default: the one that this binary was
    /// built from]
    #[arg(long, env = "QUORATE_SDK", value_name = "DIR")]
    sdk: Option<PathBuf>,
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let folder = &arguments.folder;
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let template = template::find(&arguments.template).expect("clap knows the names");
    let sdk = match &arguments.sdk {
        Some(dir) => Sdk::open(dir).map_err(|why| {
            let dir = dir.display();
            usage(format_args!("--sdk {dir}: {why}; give the folder of a clone of Quorate"))
        })?,
        None => Sdk::open(Path::new(CHECKOUT)).map_err(|_| {
            usage("the checkout that this binary was built from is gone: give one by --sdk DIR")
        })?,
    };
    let names = Names::new(name, template).and_then(|names| {
        sdk.check_name(&names)?;
        Ok(names)
    });
    let names = names.map_err(|why| usage(format_args!("{name:?}: {why}")))?;
    if folder.symlink_metadata().is_ok() {
        let folder = folder.display();
        return Err(usage(format_args!(
            "{folder} is there already: choose another name, or remove it"
        )));
    }
    let files = files(template, &names, &sdk)?;
    if let Err(error) = write(folder, &files) {
        // Half a crate would be in the way of the next try; what cannot be removed is in nobody's.
        drop(fs::remove_dir_all(folder));
        return Err(error.into());
    }
    match arguments.output {
        Output::Human => print(folder, template, &names),
        Output::Json => say(format_args!(
            "{:#}",
            json!({
                "folder": folder,
                "package": names.package,
                "service": names.service_path(),
                "template": template.name,
                "files": files.iter().map(|(path, _)| path).collect::<Vec<_>>(),
            })
        )),
    }
    Ok(())
}

/// All files of the crate: where they are in it, and what is in them.
fn files(template: &Template, names: &Names, sdk: &Sdk) -> anyhow::Result<Vec<(String, String)>> {
    let mut files = vec![
        ("Cargo.toml".to_owned(), manifest::manifest(template, names, sdk)?),
        (".gitignore".to_owned(), GIT_IGNORE.to_owned()),
    ];
    files.extend(sdk.lock(template, names).map(|lock| ("Cargo.lock".to_owned(), lock)));
    for (path, text) in template.files.iter().filter(|(path, _)| *path != "Cargo.toml") {
        files.push((names.path(path), names.text(path, text)));
    }
    files.sort();
    Ok(files)
}

fn write(folder: &Path, files: &[(String, String)]) -> anyhow::Result<()> {
    for (path, text) in files {
        let file = folder.join(path);
        let parent = file.parent().expect("it was joined to its folder");
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

fn print(folder: &Path, template: &Template, names: &Names) {
    let program = program();
    let shown = folder.display();
    say(format_args!("{shown}: {} from the template {}", names.service_path(), template.name));
    say(format_args!("\nNext:\n  cd {shown}\n  {program} dev ."));
    let readme = template.file("README.md").unwrap_or_default();
    let readme = names.text("README.md", readme);
    let call = readme.lines().find_map(|line| line.strip_prefix("quorate call "));
    if let Some(call) = call {
        say(format_args!("and in another terminal:\n  {program} call {call}"));
    }
}
