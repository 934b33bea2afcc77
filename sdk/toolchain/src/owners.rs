//! Whose packages a target folder holds. Cargo tells the members of two workspaces apart by their
//! names and their places within the workspace alone, and by the times of their files: of two
//! plugins with one name, the one that is built second may be given the first one's module, or the
//! code that the first one's build script generated. Here such a package is forgotten before it is
//! built elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Which member of which workspace was built last under a name.
const RECORD: &str = "quorate.owners";
/// Where cargo keeps what it knows of its own builds, in the folder of a target and profile.
const FINGERPRINTS: &str = ".fingerprint";
const HASH_CHARS: usize = 16;

/// Makes the target folder that of these packages, as cargo names them. Nobody else may build in it
/// meanwhile.
pub(super) fn claim(target_dir: &Path, profile_dirs: &[&Path], ids: &[String]) -> io::Result<()> {
    let record = target_dir.join(RECORD);
    let text = match fs::read_to_string(&record) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        read => read?,
    };
    let mut owners: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.split_once('\t')).collect();
    let mut others = Vec::new();
    for id in ids {
        let Some(name) = name_of(id) else { continue };
        if owners.insert(name, id) != Some(id) {
            others.push(name);
        }
    }
    if others.is_empty() {
        return Ok(());
    }
    for dir in profile_dirs {
        forget(&target_dir.join(dir).join(FINGERPRINTS), &others)?;
    }
    let lines: Vec<_> = owners.iter().map(|(name, id)| [name, "\t", id, "\n"].concat()).collect();
    fs::write(record, lines.concat())
}

/// Has cargo build these packages anew.
fn forget(fingerprints: &Path, names: &[&str]) -> io::Result<()> {
    let entries = match fs::read_dir(fingerprints) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        read => read?,
    };
    for entry in entries {
        let entry = entry?;
        let file_name = entry.file_name();
        let Some((name, hash)) = file_name.to_str().and_then(|file| file.rsplit_once('-')) else {
            continue;
        };
        if hash.len() == HASH_CHARS && names.contains(&name) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// The members of a workspace, out of what `cargo metadata` says of it.
pub(super) fn members_of(metadata: &str) -> Vec<String> {
    let list = metadata
        .split_once("\"workspace_members\":[")
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or("", |(list, _)| list);
    list.split('"').filter(|id| id.contains('#')).map(str::to_owned).collect()
}

/// The name within a package's id, whose last part is `NAME@VERSION`, or `VERSION` alone where the
/// folder has that name.
fn name_of(id: &str) -> Option<&str> {
    let (dir, rest) = id.rsplit_once('#')?;
    match rest.split_once('@') {
        Some((name, _)) => Some(name),
        None => dir.rsplit('/').next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_members_of_a_workspace_and_their_names_are_found() {
        let members = r#""path+file:///w/kv#0.1.0","path+file:///w/sdk#quorate-sdk@0.1.0""#;
        let packages = r#"[{"id":"path+file:///a#no@1.0.0"}]"#;
        let metadata =
            format!(r#"{{"packages":{packages},"workspace_members":[{members}],"resolve":null}}"#);
        let members = members_of(&metadata);
        assert_eq!(members, ["path+file:///w/kv#0.1.0", "path+file:///w/sdk#quorate-sdk@0.1.0"]);
        let names: Vec<_> = members.iter().filter_map(|id| name_of(id)).collect();
        assert_eq!(names, ["kv", "quorate-sdk"]);
        assert!(members_of("").is_empty());
    }
}
