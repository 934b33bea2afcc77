//! What a table was measured on: it says little without.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fmt, io};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::load;
use crate::stages::nanos;

/// How often the disk is asked to make a block durable, and for how long at most.
const SYNCS_MAX: usize = 500;
const SYNCS_LAST: Duration = Duration::from_secs(2);
const BLOCK: [u8; 4096] = [0x5a; 4096];
/// What `statfs` says of a folder that is in memory.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// The machine and what runs on it.
#[derive(Clone, Debug)]
pub struct Machine {
    cpu: String,
    cores: usize,
    memory_bytes: u64,
    kernel: String,
    load_average: f64,
    disk: Disk,
    /// Whether servers and clients are on one machine, and so take time from each other.
    pub is_shared: bool,
    /// Which etcd, if any.
    pub etcd_version: Option<String>,
}

/// How long a disk takes to make a block of 4 KiB durable.
#[derive(Clone, Debug)]
struct Disk {
    folder: String,
    fdatasync_p50_us: f64,
    fdatasync_p99_us: f64,
}

impl Machine {
    /// This machine, with the disk that the folder is on.
    pub fn look(folder: &Path) -> anyhow::Result<Self> {
        let cpu = line_of("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned());
        let memory = line_of("/proc/meminfo", "MemTotal").unwrap_or_default();
        let kibibytes: u64 = memory.trim_end_matches(" kB").parse().unwrap_or(0);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load_average = load.split(' ').next().and_then(|load| load.parse().ok());
        Ok(Self {
            cpu,
            cores: std::thread::available_parallelism()?.get(),
            memory_bytes: kibibytes * 1024,
            kernel: kernel.trim().to_owned(),
            load_average: load_average.unwrap_or(0.0),
            disk: Disk::measure(folder).context("the disk's syncs cannot be measured")?,
            is_shared: true,
            etcd_version: None,
        })
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "cpu": self.cpu,
            "cores": self.cores,
            "memory_bytes": self.memory_bytes,
            "kernel": self.kernel,
            "load_average_1_minute": self.load_average,
            "disk_folder": self.disk.folder,
            "fdatasync_p50_us": self.disk.fdatasync_p50_us,
            "fdatasync_p99_us": self.disk.fdatasync_p99_us,
            "clients_and_servers_share_the_machine": self.is_shared,
            "quorate_version": env!("CARGO_PKG_VERSION"),
            "etcd_version": self.etcd_version,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, cores, kernel, load_average, disk, .. } = self;
        let gibibytes = self.memory_bytes >> 30;
        writeln!(f, "machine   {cpu}, {cores} cores, {gibibytes} GiB, Linux {kernel}")?;
        let Disk { folder, fdatasync_p50_us: p50, fdatasync_p99_us: p99 } = disk;
        writeln!(f, "disk      4 KiB and fdatasync: p50 {p50:.0} us, p99 {p99:.0} us, {folder}")?;
        let place = if self.is_shared { "on the servers' machine" } else { "on another machine" };
        writeln!(f, "clients   {place}, whose load average was {load_average}")?;
        write!(f, "versions  quorate {}", env!("CARGO_PKG_VERSION"))?;
        self.etcd_version.iter().try_for_each(|version| write!(f, ", etcd {version}"))
    }
}

/// The rest of the first line that begins so, behind a colon.
fn line_of(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

impl Disk {
    fn measure(folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!("fdatasync-{}", std::process::id()));
        let measured = File::create(&path).and_then(syncs);
        fs::remove_file(&path)?;
        let latencies = measured?;
        #[expect(clippy::cast_precision_loss, reason = "seconds at most")]
        let at = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
        Ok(Self {
            folder: folder.display().to_string(),
            fdatasync_p50_us: at(0.5),
            fdatasync_p99_us: at(0.99),
        })
    }
}

/// Writes the same block again and again: its room is taken, so a sync is one write.
fn syncs(mut file: File) -> io::Result<Histogram<u64>> {
    let mut latencies_ns = load::histogram_ns();
    file.write_all(&BLOCK)?;
    file.sync_all()?;
    let begin = Instant::now();
    for _ in 0..SYNCS_MAX {
        if begin.elapsed() > SYNCS_LAST {
            break;
        }
        file.seek(SeekFrom::Start(0))?;
        let write = Instant::now();
        file.write_all(&BLOCK)?;
        file.sync_data()?;
        latencies_ns.saturating_record(nanos(write.elapsed()));
    }
    Ok(latencies_ns)
}

/// How long a process has been busy, in all its threads; without a number, this one.
pub fn process_time(process: Option<u32>) -> anyhow::Result<Duration> {
    let process = process.map_or_else(|| "self".to_owned(), |process| process.to_string());
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name is in parentheses, and may have spaces. User and system time are the 14th and the
    // 15th field, in hundredths of a second: so Linux has it towards programs, whatever its own
    // ticks are.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: Vec<u64> = fields.skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    anyhow::ensure!(ticks.len() == 2, "the kernel does not tell how long a process was busy");
    Ok(Duration::from_millis(10 * ticks.iter().sum::<u64>()))
}

/// Whether a folder is in memory, where a sync costs nothing.
pub fn is_in_memory(folder: &Path) -> io::Result<bool> {
    Ok(rustix::fs::statfs(folder)?.f_type == TMPFS_MAGIC)
}
