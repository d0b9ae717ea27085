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

    /// Takes away all room that is free. Whoever writes meanwhile may use it up first: then what is left is taken.
    pub fn fill(&self) {
        for _ in 0..100 {
            let Ok(used) = rustix::fs::statvfs(self.path()) else { break };
            let bytes = (used.f_blocks - used.f_bfree) * used.f_frsize;
            if self.remount(&format!("{bytes}")) {
                return;
            }
        }
        panic!("`{}` could not be filled", self.path().display());
    }

    /// Gives it more room.
    pub fn grow(&self, megabytes: u32) {
        let grown = self.remount(&format!("{megabytes}m"));
        assert!(grown, "`{}` could not be given more room", self.path().display());
    }

    fn remount(&self, size: &str) -> bool {
        let options = format!("remount,size={size}");
        run("mount", &["-o".as_ref(), options.as_ref(), self.path()])
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
