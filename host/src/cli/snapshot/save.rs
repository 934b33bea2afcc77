//! `quorate snapshot save`: from a running node to a file, which is there as a whole or not at all.
//!
//! What comes is verified as it comes: a file that was saved is sound.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use clap::Args;
use quorate_core::limits;
use quorate_proto::v1::SnapshotSaveRequest;
use quorate_proto::v1::admin_client::AdminClient;
use tonic::Status;

use super::report::Report;
use crate::cli::connect::connect;
use crate::cli::signals::Signals;
use crate::cli::{Failure, Output, call, usage};
use crate::durable::NewFile;
use crate::snapshot::{Content, Decoder, Header, Position};

/// The largest chunk, and what is around it.
const FRAME_BYTES_MAX: usize = limits::SNAPSHOT_CHUNK_BYTES_MAX + 64 * 1024;
const PROGRESS_PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The client address of any node, HOST:PORT; several are tried in turn
    #[arg(long, env = "QUORATE_AT", value_name = "ADDR,ADDR")]
    at: String,
    /// Where to save
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let name = arguments.file.display();
    let file = NewFile::create(&arguments.file, arguments.force).map_err(|error| {
        let is_there = error.kind() == std::io::ErrorKind::AlreadyExists;
        let advice = if is_there { "; --force replaces it" } else { "" };
        usage(format_args!("{name}: {error}{advice}"))
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting a runtime")?;
    let mut progress = Progress::start();
    let saved = runtime.block_on(async {
        let signals = Signals::listen()?;
        tokio::select! {
            saved = save(&arguments.at, file, &mut progress) => saved,
            // The file is dropped, and so removed.
            _ = signals.first() => Err(anyhow!("interrupted").into()),
        }
    });
    progress.clear();
    let (header, position, file_bytes) = saved.map_err(|failure| match failure {
        Failure::Failed(error) => Failure::Failed(error.context(format!("saving {name}"))),
        other => other,
    })?;
    Report { header: &header, position: &position, file_bytes }.print(arguments.output);
    Ok(())
}

async fn save(
    at: &str,
    mut file: NewFile,
    progress: &mut Progress,
) -> Result<(Header, Position, u64), Failure> {
    let channel = connect(at).await.map_err(|status| call::not_connected(&status))?;
    let mut admin = AdminClient::new(channel).max_decoding_message_size(FRAME_BYTES_MAX);
    let failed = |status: Status| call::failed(&status);
    let mut frames = admin.snapshot_save(SnapshotSaveRequest {}).await.map_err(failed)?;
    let (mut decoder, mut header, mut bytes) = (Decoder::new(), None, 0);
    while let Some(message) = frames.get_mut().message().await.map_err(failed)? {
        let content = decoder.take(&message.frame).context("what came is damaged")?;
        if let Content::Header(found) = content {
            header = Some(found);
        }
        file.write(&message.frame).context("writing")?;
        bytes += message.frame.len() as u64;
        progress.show(bytes, decoder.position());
    }
    let ended_early = || anyhow!("the node ended before the snapshot did");
    let (Some(header), true) = (header, decoder.is_whole()) else {
        return Err(ended_early().into());
    };
    file.finish().context("writing")?;
    let position = decoder.position().expect("a whole snapshot has one").clone();
    Ok((header, position, bytes))
}

/// A line that is written over, when somebody looks.
struct Progress {
    is_shown: bool,
    last: Instant,
}

impl Progress {
    fn start() -> Self {
        Self { is_shown: std::io::stderr().is_terminal(), last: Instant::now() }
    }

    fn show(&mut self, bytes: u64, position: Option<&Position>) {
        if !self.is_shown || self.last.elapsed() < PROGRESS_PAUSE {
            return;
        }
        self.last = Instant::now();
        let records = position.map_or(0, |position| position.records);
        let mebibytes = bytes / (1024 * 1024);
        self.write(format_args!("\r{mebibytes} MiB, {records} records"));
    }

    fn clear(&self) {
        // Back to the beginning, and nothing there.
        self.write(format_args!("\r\x1b[K"));
    }

    fn write(&self, what: std::fmt::Arguments<'_>) {
        if self.is_shown {
            let mut out = std::io::stderr().lock();
            drop(out.write_fmt(what).and_then(|()| out.flush()));
        }
    }
}
