//! Whom the server runs as.
//!
//! Postgres refuses to run as root, so a root process lends it the `postgres` system user. Files that the server
//! must own are given to that user when they are made; nothing that existed before changes hands.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::{Error, Result};

/// A system user, as the user database knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceUser {
    pub uid: u32,
    pub gid: u32,
}

impl ServiceUser {
    /// `None` when this process is not root: then the server runs as whoever we are.
    pub(crate) fn for_this_process() -> Result<Option<ServiceUser>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        // Parsed by hand: the C library's lookup is not reachable without unsafe code, and a service user comes
        // from the package, so it stands in the file.
        let passwd = fs::read_to_string("/etc/passwd").map_err(Error::io("read `/etc/passwd`"))?;
        named(&passwd, "postgres").map(Some).ok_or(Error::NoServiceUser)
    }

    /// The uid that must own the server's files: this user's, or our own.
    pub(crate) fn owner_uid(user: Option<ServiceUser>) -> u32 {
        user.map_or_else(|| rustix::process::geteuid().as_raw(), |user| user.uid)
    }
}

fn named(passwd: &str, name: &str) -> Option<ServiceUser> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let (found, uid, gid) = (fields.first()?, fields.get(2)?, fields.get(3)?);
        (*found == name).then_some(())?;
        Some(ServiceUser { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
    })
}

/// Makes `command` run as the user. The standard library empties the supplementary groups with the change, so
/// none of root's are left.
pub(crate) fn run_as(command: &mut Command, user: Option<ServiceUser>) {
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
}

/// Gives a path that we have just made to the user.
pub(crate) fn give(path: &Path, user: Option<ServiceUser>) -> Result<()> {
    match user {
        Some(user) => chown(path, Some(user.uid), Some(user.gid)).map_err(Error::at("change the owner of", path)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_found_by_its_whole_name() {
        let passwd =
            "root:x:0:0::/root:/bin/sh\npostgres2:x:7:7:::\npostgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\n";
        let expected = ServiceUser { uid: 101, gid: 104 };
        assert_eq!(named(passwd, "postgres"), Some(expected));
        assert_eq!(named(passwd, "nobody"), None);
    }
}
