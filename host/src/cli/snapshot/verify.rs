//! `quorate snapshot verify`: reads all of a file. Exit code 1 when it is damaged.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;

use super::report::Report;
use crate::cli::{Failure, Output, usage};
use crate::snapshot::{Content, Header, Reader};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// What was saved
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut reader = open(&arguments.file)?;
    let header = read_header(&arguments.file, &mut reader)?;
    while read(&arguments.file, &mut reader)?.is_some() {}
    let position = reader.decoder().position().expect("the header was there");
    Report { header: &header, position, file_bytes: reader.bytes() }.print(arguments.output);
    Ok(())
}

pub(super) fn open(file: &Path) -> Result<Reader<File>, Failure> {
    let opened = File::open(file);
    opened.map(Reader::new).map_err(|error| usage(format_args!("{}: {error}", file.display())))
}

/// What the next frame of a file holds; `None` behind the last.
pub(super) fn read(file: &Path, reader: &mut Reader<File>) -> Result<Option<Content>, Failure> {
    let next = reader.next_content();
    next.map_err(|error| Failure::Failed(anyhow!("{}: {error}", file.display())))
}

pub(super) fn read_header(file: &Path, reader: &mut Reader<File>) -> Result<Header, Failure> {
    match read(file, reader)? {
        Some(Content::Header(header)) => Ok(header),
        Some(Content::Records(_) | Content::End) | None => {
            unreachable!("a snapshot that is sound begins with its header")
        }
    }
}
