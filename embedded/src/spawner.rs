//! The thread that starts servers.
//!
//! The parent death signal follows the thread that spawned, not the process (see `guard`). A worker of an async
//! runtime may end while the program goes on; this thread ends only with the process.

use std::io;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;

struct Job {
    command: Command,
    reply: SyncSender<io::Result<Child>>,
}

static JOBS: Mutex<Option<Sender<Job>>> = Mutex::new(None);

/// Spawns `command` from the thread that lives as long as the process.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    let (reply, answer) = mpsc::sync_channel(1);
    jobs()?.send(Job { command, reply }).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

fn jobs() -> io::Result<Sender<Job>> {
    let mut jobs = JOBS.lock().map_err(|_| gone())?;
    if let Some(jobs) = jobs.as_ref() {
        return Ok(jobs.clone());
    }
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().name("postgres-spawner".into()).spawn(move || serve(&receiver))?;
    *jobs = Some(sender.clone());
    Ok(sender)
}

fn serve(jobs: &Receiver<Job>) {
    while let Ok(mut job) = jobs.recv() {
        let _ = job.reply.send(job.command.spawn());
    }
}

fn gone() -> io::Error {
    io::Error::other("the spawning thread is gone: restart the program")
}
