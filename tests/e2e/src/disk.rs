//! Disks that can be full: each a small file system in memory, for as long as a test needs it.
//!
//! To mount one takes no rights: the kernel lets everybody mount in a namespace of their own. Only
//! processes that are started within it see the disks; to all others the folders are empty.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::binary::{Ran, run_command};
use crate::process::Process;

/// Longer than any test: it ends by itself if nobody ends it.
const KEPT: Duration = Duration::from_mins(10);
/// What takes up the room on a disk that was filled.
const FILLER: &str = "filler";

/// Small disks. They are gone with this, and with the processes that run within.
#[derive(Debug)]
pub struct Disks {
    /// Keeps the namespace while no node runs in it.
    keeper: Process,
    /// How another process enters the namespace.
    enter: Vec<String>,
}

impl Disks {
    /// Mounts a disk of so many MiB on each of the folders, which exist.
    ///
    /// # Panics
    /// If the kernel does not allow it.
    pub fn mount(folders: &[PathBuf], mebibytes: u32) -> Self {
        // Root mounts in a namespace of its own; others need one of users as well, in which they
        // are root. So does root in a container that keeps it from mounting.
        let [as_root, as_user] = [&["--mount"][..], &["--user", "--map-root-user", "--mount"]];
        let unshare = if can(as_root) { as_root } else { as_user };
        assert!(
            can(unshare),
            "this kernel does not let a test mount a small disk: `unshare --map-root-user --mount` \
             failed. It takes user namespaces: see /proc/sys/user/max_user_namespaces and \
             /proc/sys/kernel/apparmor_restrict_unprivileged_userns; in a container, run it with \
             --security-opt seccomp=unconfined --security-opt apparmor=unconfined, or as root with \
             --cap-add SYS_ADMIN"
        );
        let mount = format!(
            "for folder; do mount -t tmpfs -o size={mebibytes}m tmpfs \"$folder\" || exit 1; done
             echo mounted
             exec sleep {}",
            KEPT.as_secs()
        );
        let mut command = Command::new("unshare");
        command.args(unshare).args(["sh", "-c", &mount, "sh"]).args(folders);
        let keeper = Process::start("the keeper of disks", command);
        keeper.says("mounted");
        let mut enter = vec![format!("--target={}", keeper.id()), "--mount".to_owned()];
        if unshare == as_user {
            enter.extend(["--user", "--preserve-credentials"].map(str::to_owned));
        }
        Self { keeper, enter }
    }

    /// The same command, in a process that sees the disks.
    pub fn within(&self, command: &Command) -> Command {
        // It becomes the command's process, so that this one is who can be killed.
        let mut within = Command::new("nsenter");
        within.args(&self.enter).arg("--").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => within.env(name, value),
                None => within.env_remove(name),
            };
        }
        within
    }

    /// Takes up the room on a disk, but for so many KiB.
    pub fn fill(&self, folder: &Path, kibibytes_left: u64) {
        // A node may write meanwhile. When no room is to be left, the filler then does not fit, and
        // the disk is full all the same.
        let script = ": > \"$1\"
            room=$(df --output=avail -k \"$1\" | tail -n 1)
            head --bytes=$((room - $2))K /dev/zero > \"$1\" 2>/dev/null || test \"$2\" = 0";
        self.run(script, &[&filler(folder), Path::new(&kibibytes_left.to_string())]);
    }

    /// Makes the room again that was taken up.
    pub fn make_room(&self, folder: &Path) {
        self.run("rm -- \"$1\"", &[&filler(folder)]);
    }

    fn run(&self, script: &str, arguments: &[&Path]) {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).args(arguments);
        let ran: Ran = run_command(self.within(&command));
        assert_eq!(ran.code, 0, "{script} {arguments:?}: {ran:?}; {:?}", self.keeper.said());
    }
}

fn filler(folder: &Path) -> PathBuf {
    folder.join(FILLER)
}

/// Whether the kernel allows such a namespace, and to mount in it.
fn can(unshare: &[&str]) -> bool {
    let mut command = Command::new("unshare");
    // On a folder that is always there; nobody else sees it.
    command.args(unshare).args(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", "/tmp"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().expect("there is unshare, of util-linux");
    status.success()
}
