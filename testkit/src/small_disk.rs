//! A file system of a few megabytes, to be filled.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::server;

/// A mounted file system in memory. Dropping it unmounts it.
#[derive(Debug)]
pub struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    /// A new file system; `None` where this process may not mount one.
    pub fn mount(megabytes: u32) -> Option<SmallDisk> {
        let dir = tempfile::Builder::new()
            .prefix("eventflow-disk-")
            .tempdir()
            .unwrap_or_else(|error| panic!("could not make a temporary directory: {error}"));
        server::make_open(dir.path());
        let options = format!("size={megabytes}m,mode=0755");
        run("mount", &["-t".as_ref(), "tmpfs".as_ref(), "-o".as_ref(), options.as_ref(), "tmpfs".as_ref(), dir.path()])
            .then_some(SmallDisk { dir })
    }

    /// Gives it more room.
    pub fn grow(&self, megabytes: u32) {
        let options = format!("remount,size={megabytes}m");
        let grown = run("mount", &["-o".as_ref(), options.as_ref(), self.path()]);
        assert!(grown, "`{}` could not be given more room", self.path().display());
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that is being killed may still be in there.
        run("umount", &["-l".as_ref(), self.path()]);
    }
}

fn run(program: &str, arguments: &[&Path]) -> bool {
    let mut command = Command::new(program);
    let status = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
