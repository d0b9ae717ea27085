//! Where a cluster lies.
//!
//! Normally in the directory that the user named. As root the server runs as the `postgres` user, and when that
//! user cannot traverse the directory (a 0700 home on the way), the cluster lies under [`RELOCATION_ROOT`] by a
//! hash of the directory's path, and the directory holds a pointer to it. **Invariant:** nobody's permissions are
//! changed, and deleting the directory means a fresh start, as it does without relocation: data whose pointer is
//! gone is set aside, never deleted and never silently resumed.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::directory_lock::DirectoryLock;
use crate::service_user::run_as;
use crate::{Binaries, Error, Result, ServiceUser};

/// Where relocated clusters lie.
pub const RELOCATION_ROOT: &str = "/var/lib/eventflow";

/// The file in the user's directory that says where the cluster went.
const POINTER: &str = "postgres.pointer";

/// Where the cluster was asked to be, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    pub requested: PathBuf,
    pub actual: PathBuf,
    pub relocated: bool,
    /// Data of an earlier cluster for the same path whose pointer was deleted: moved here.
    pub set_aside: Option<PathBuf>,
}

impl Placement {
    /// Decides, and makes the directories.
    pub(crate) fn choose(
        dir: &Path,
        relocation_root: &Path,
        user: Option<ServiceUser>,
        binaries: &Binaries,
    ) -> Result<Placement> {
        fs::create_dir_all(dir).map_err(Error::at("create", dir))?;
        let requested = fs::canonicalize(dir).map_err(Error::at("resolve", dir))?;
        let reachable = match user {
            None => true,
            // Data that went elsewhere once stays there, even if the way has been opened since.
            Some(_) if requested.join(POINTER).exists() => false,
            // A server that this user cannot execute at all is not a question of the directory.
            Some(user) => !can_start_in(Path::new("/"), user, binaries)? || can_start_in(&requested, user, binaries)?,
        };
        if reachable {
            let actual = requested.clone();
            return Ok(Placement { requested, actual, relocated: false, set_aside: None });
        }
        relocate(requested, relocation_root)
    }
}

/// Tries it, because mode bits alone would miss access lists and mount options.
fn can_start_in(dir: &Path, user: ServiceUser, binaries: &Binaries) -> Result<bool> {
    let mut command = Command::new(binaries.program("postgres"));
    command.arg("--version").current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    run_as(&mut command, Some(user));
    match command.status() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(false),
        Err(error) => Err(Error::at("enter", dir)(error)),
    }
}

fn relocate(requested: PathBuf, root: &Path) -> Result<Placement> {
    let actual = root.join(format!("{:016x}", hash(requested.as_os_str().as_bytes())));
    let pointer = requested.join(POINTER);
    let mut set_aside = None;
    if !pointer.exists() && actual.exists() {
        // Not from under a live one: its directory was deleted, but it still runs.
        let _unused = DirectoryLock::take(&actual)?;
        let aside = (1..)
            .map(|number| actual.with_extension(format!("set-aside-{number}")))
            .find(|aside| !aside.exists())
            .unwrap_or_else(|| actual.with_extension("set-aside"));
        fs::rename(&actual, &aside).map_err(Error::at("set aside", &actual))?;
        set_aside = Some(aside);
    }
    fs::create_dir_all(&actual).map_err(Error::at("create", &actual))?;
    fs::write(&pointer, format!("{}\n", actual.display())).map_err(Error::at("write", &pointer))?;
    Ok(Placement { requested, actual, relocated: true, set_aside })
}

/// FNV-1a: short, and the same in every release, which the standard hasher does not promise.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_pointer_sets_the_old_data_aside() {
        let scratch = tempfile::tempdir().unwrap();
        let (dir, root) = (scratch.path().join("dir"), scratch.path().join("root"));
        fs::create_dir(&dir).unwrap();
        let first = relocate(dir.clone(), &root).unwrap();
        assert!(first.relocated && first.set_aside.is_none());
        fs::write(first.actual.join("kept"), "x").unwrap();
        assert_eq!(relocate(dir.clone(), &root).unwrap().set_aside, None);

        fs::remove_file(dir.join(POINTER)).unwrap();
        let fresh = relocate(dir, &root).unwrap();
        assert!(!fresh.actual.join("kept").exists());
        assert!(fresh.set_aside.unwrap().join("kept").exists());
    }
}
