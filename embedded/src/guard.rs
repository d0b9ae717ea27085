//! A server that dies with its parent.
//!
//! Linux can signal a process when the thread that made it ends. Two traps shape this room. A change of user
//! clears the request, so it must come after the change: the parent therefore starts a guard, which drops the
//! user, asks for the signal, makes sure that the parent has not died meanwhile, and becomes Postgres by `exec`.
//! And it is the *thread* that counts, so the guard is started from one that lives as long as the process
//! (`spawner`). The signal is SIGQUIT, Postgres' immediate shutdown: nothing can make it wait, and what was
//! committed is safe in the write-ahead log.
//!
//! `exec` keeps the process id, so the guard's is the server's. Elsewhere than on Linux there is no such signal:
//! the server then stays until it is stopped, and [`dies_with_parent`] says so.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::service_user::run_as;
use crate::{Error, Result, ServiceUser};

/// The hidden first argument that turns this program into the guard.
pub const GUARD_ARG: &str = "__postgres-guard";

/// How the server is tied to the life of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// This program, executed again; its `main` calls [`run_guard_if_asked`] first.
    Reexec,
    /// `setpriv` of util-linux, for programs without a `main` of ours, such as test binaries. Falls back to
    /// no guard where there is no such program.
    Setpriv,
    /// Nothing: the server stays when this process is killed.
    None,
}

/// True where a server cannot outlive its parent.
#[must_use]
pub fn dies_with_parent() -> bool {
    cfg!(target_os = "linux")
}

/// Set by the first call of [`run_guard_if_asked`]. Without it, re-execution would run the program's real work
/// again, and that would start a server again, without end.
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// To be called first in `main`. `None`: this is an ordinary run, go on. Otherwise the guard could not become
/// Postgres, has said why on standard error, and `main` must return the code.
pub fn run_guard_if_asked() -> Option<ExitCode> {
    INSTALLED.store(true, Ordering::Release);
    let mut args = std::env::args_os().skip(1);
    if args.next()? != GUARD_ARG {
        return None;
    }
    let reason = become_postgres(&args.collect::<Vec<_>>());
    // Standard error is the server's log, where the parent looks for the reason.
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("the guard could not start postgres: {reason}\n").as_bytes(),
    );
    Some(ExitCode::from(70))
}

/// The command that becomes the server, with process id and standard error unchanged on the way.
pub(crate) fn command(guard: Guard, postgres: &Path, user: Option<ServiceUser>) -> Result<Command> {
    let guard = if dies_with_parent() { guard } else { Guard::None };
    match guard {
        Guard::Reexec if !INSTALLED.load(Ordering::Acquire) => Err(Error::GuardNotInstalled),
        Guard::Reexec => Ok(reexec(postgres, user)),
        Guard::Setpriv => Ok(setpriv(postgres, user).unwrap_or_else(|| bare(postgres, user))),
        Guard::None => Ok(bare(postgres, user)),
    }
}

fn reexec(postgres: &Path, user: Option<ServiceUser>) -> Command {
    // The link, not the path: it works after the program was replaced on disk, and no user has to be able to
    // reach it.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(GUARD_ARG)
        .arg(std::process::id().to_string())
        .arg(user.map_or_else(|| "-".to_owned(), |user| format!("{}:{}", user.uid, user.gid)))
        .arg(postgres);
    command
}

/// `setpriv` asks for the signal after it has changed the user; the shell between then checks the parent, which
/// closes the moment in which it could have died unseen.
fn setpriv(postgres: &Path, user: Option<ServiceUser>) -> Option<Command> {
    let program =
        ["/usr/bin/setpriv", "/bin/setpriv", "/usr/sbin/setpriv"].into_iter().find(|path| Path::new(path).exists())?;
    let mut command = Command::new(program);
    command.args(["--pdeathsig", "QUIT"]);
    if let Some(user) = user {
        command.arg(format!("--reuid={}", user.uid)).arg(format!("--regid={}", user.gid)).arg("--clear-groups");
    }
    command
        .args(["/bin/sh", "-c", "test \"$PPID\" = \"$0\" && exec \"$@\""])
        .arg(std::process::id().to_string())
        .arg(postgres)
        // As for the guard: Ctrl-C in the terminal is not for the server.
        .process_group(0);
    Some(command)
}

fn bare(postgres: &Path, user: Option<ServiceUser>) -> Command {
    let mut command = Command::new(postgres);
    command.process_group(0);
    run_as(&mut command, user);
    command
}

/// Returns only with the reason why it failed.
fn become_postgres(args: &[OsString]) -> String {
    let [parent, user, postgres, rest @ ..] = args else {
        return "it was started by hand: it is not a command".to_owned();
    };
    match prepare(parent, user) {
        Ok(()) => Command::new(postgres).args(rest).exec().to_string(),
        Err(reason) => reason,
    }
}

#[cfg(target_os = "linux")]
fn prepare(parent: &OsStr, user: &OsStr) -> std::result::Result<(), String> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal, setsid};
    let parent: i32 = number(parent.to_str())?;
    // Its own session: Ctrl-C in the terminal is for the parent, which then stops the server in order.
    setsid().map_err(|error| format!("no session of its own: {error}"))?;
    if user != "-" {
        let (uid, gid) = user.to_str().and_then(|text| text.split_once(':')).ok_or("the user is not `uid:gid`")?;
        drop_user(number(Some(uid))?, number(Some(gid))?)
            .map_err(|error| format!("could not become the server's user: {error}"))?;
    }
    set_parent_process_death_signal(Some(Signal::QUIT)).map_err(|error| format!("no parent death signal: {error}"))?;
    match getppid() {
        Some(found) if found.as_raw_nonzero().get() == parent => Ok(()),
        _ => Err("the parent has died meanwhile".to_owned()),
    }
}

#[cfg(not(target_os = "linux"))]
fn prepare(_parent: &OsStr, _user: &OsStr) -> std::result::Result<(), String> {
    Err("there is no guard on this system".to_owned())
}

/// The guard has one thread, so changing the thread's user changes the process.
#[cfg(target_os = "linux")]
fn drop_user(uid: u32, gid: u32) -> rustix::io::Result<()> {
    use rustix::process::{Gid, Uid};
    let gid = Gid::from_raw(gid);
    rustix::thread::set_thread_groups(&[gid])?;
    rustix::thread::set_thread_gid(gid)?;
    rustix::thread::set_thread_uid(Uid::from_raw(uid))
}

#[cfg(target_os = "linux")]
fn number<T: std::str::FromStr>(text: Option<&str>) -> std::result::Result<T, String> {
    text.and_then(|text| text.parse().ok()).ok_or_else(|| "an argument is not a number".to_owned())
}
