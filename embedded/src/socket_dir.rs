//! Where the unix socket lies.
//!
//! The kernel keeps at most 107 bytes of a socket's path, and data directories of projects are often deeper. The
//! socket then goes to a short directory, named by a hash of the cluster's place. Whoever can enter that
//! directory is trusted by the server, so it is 0700 and must belong to the server's user.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::placement::hash;
use crate::service_user::give;
use crate::{Error, Result, ServiceUser};

/// `sun_path` without its terminating zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The directory for a cluster that lies in `actual`.
pub(crate) fn choose(actual: &Path, runtime_dir: Option<&Path>, user: Option<ServiceUser>) -> PathBuf {
    let beside_data = actual.join("run");
    if fits(&beside_data) {
        return beside_data;
    }
    let name = format!("eventflow-{:016x}", hash(actual.as_os_str().as_bytes()));
    // A runtime directory belongs to its user alone: a lent user could not enter it.
    let in_runtime_dir = runtime_dir.filter(|_| user.is_none()).map(|dir| dir.join(&name));
    in_runtime_dir.filter(|dir| fits(dir)).unwrap_or_else(|| Path::new("/tmp").join(name))
}

/// Makes the directory, or accepts the one of an earlier start.
pub(crate) fn ensure(dir: &Path, user: Option<ServiceUser>) -> Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => return give(dir, user),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(Error::at("create", dir)(error)),
    }
    let found = fs::symlink_metadata(dir).map_err(Error::at("inspect", dir))?;
    // In /tmp anybody could have made it first, and would then own the way to our server.
    let ours = found.is_dir() && found.uid() == ServiceUser::owner_uid(user) && found.mode() & 0o077 == 0;
    if ours {
        return Ok(());
    }
    let reason = std::io::Error::new(
        ErrorKind::PermissionDenied,
        "it is not a private directory of the server's user: remove it",
    );
    Err(Error::at("use", dir)(reason))
}

fn fits(dir: &Path) -> bool {
    let longest_name = "/.s.PGSQL.65535".len();
    dir.as_os_str().len() + longest_name <= SOCKET_PATH_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_directory_gets_a_short_socket() {
        let deep = PathBuf::from(format!("/srv/{}", "d".repeat(120)));
        assert_eq!(choose(Path::new("/srv/x"), None, None), Path::new("/srv/x/run"));
        assert!(choose(&deep, None, None).starts_with("/tmp"));
        let runtime = Path::new("/run/user/1000");
        assert!(choose(&deep, Some(runtime), None).starts_with(runtime));
        let lent = Some(ServiceUser { uid: 101, gid: 104 });
        assert!(choose(&deep, Some(runtime), lent).starts_with("/tmp"));
    }

    #[test]
    fn a_directory_open_to_others_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("s");
        ensure(&dir, None).unwrap();
        ensure(&dir, None).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(ensure(&dir, None).is_err());
    }
}
