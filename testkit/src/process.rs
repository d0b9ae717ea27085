//! A program under test as a child process.
//!
//! Its standard output and error are read line by line into one list, which a test can await. It is killed when
//! the value is dropped.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::within::within;

pub use rustix::process::Signal;

/// What a program has written so far, in the order in which it was read.
#[derive(Debug, Clone, Default)]
pub struct Output {
    pub lines: Vec<String>,
    open_pipes: usize,
}

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: watch::Receiver<Output>,
    read_to: usize,
}

impl Process {
    /// Starts `command`, a [`std::process::Command`], with its output captured and its input closed.
    pub fn start(command: std::process::Command) -> Process {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = Command::from(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("could not start `{name}`: {error}"));
        let (sender, output) = watch::channel(Output { lines: Vec::new(), open_pipes: 2 });
        if let Some(pipe) = child.stdout.take() {
            tokio::spawn(collect(pipe, sender.clone()));
        }
        if let Some(pipe) = child.stderr.take() {
            tokio::spawn(collect(pipe, sender));
        }
        Process { name, child, output, read_to: 0 }
    }

    /// Waits for the next line that contains `pattern`, after those that earlier calls returned. Panics with the
    /// output when the program closes it or takes too long.
    pub async fn wait_for_line(&mut self, pattern: &str) -> String {
        let from = self.read_to;
        let mut output = self.output.clone();
        let wait = output.wait_for(|output| output.open_pipes == 0 || position(output, from, pattern).is_some());
        let waited = tokio::time::timeout(crate::PATIENCE, wait).await;
        let seen = match waited {
            Ok(Ok(output)) => output.clone(),
            _ => self.output.borrow().clone(),
        };
        let Some(at) = position(&seen, from, pattern) else {
            let lines = seen.lines.join("\n");
            panic!("`{}` wrote no line with `{pattern}`:\n{lines}", self.name);
        };
        self.read_to = at + 1;
        seen.lines[at].clone()
    }

    /// Waits until the program, and whoever inherited its output, has closed it.
    pub async fn wait_for_end_of_output(&self) {
        let mut output = self.output.clone();
        let closed = output.wait_for(|output| output.open_pipes == 0);
        // The collecting tasks are gone when this fails: nothing more can come.
        let _ = within("the end of the output", closed).await;
    }

    /// Everything written so far.
    pub fn lines(&self) -> Vec<String> {
        self.output.borrow().lines.clone()
    }

    /// The process id, while it has not been waited for.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends a signal. TERM, INT and CONT are requests; KILL and STOP cannot be refused.
    pub fn signal(&self, signal: Signal) {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok());
        let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) else {
            panic!("`{}` has ended already", self.name);
        };
        if let Err(error) = rustix::process::kill_process(pid, signal) {
            panic!("could not signal `{}`: {error}", self.name);
        }
    }

    /// Waits for the program to end by itself or by a signal.
    pub async fn wait(&mut self) -> ExitStatus {
        let what = format!("`{}` to end", self.name);
        within(&what, self.child.wait())
            .await
            .unwrap_or_else(|error| panic!("could not wait for `{}`: {error}", self.name))
    }

    /// SIGKILL, and waits for the end.
    pub async fn kill(&mut self) -> ExitStatus {
        self.signal(Signal::KILL);
        self.wait().await
    }
}

/// The binary `name` of this workspace, built beside the running test.
pub fn built_binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap_or_else(|error| panic!("the test's own path is unknown: {error}"));
    // target/<profile>/deps/<test>: the binaries lie one level up.
    let profile_dir = test.parent().and_then(Path::parent);
    let path = profile_dir.map(|dir| dir.join(name)).unwrap_or_default();
    assert!(path.exists(), "`{}` is not built: run `cargo build --bin {name}` first", path.display());
    path
}

fn position(output: &Output, from: usize, pattern: &str) -> Option<usize> {
    let lines = output.lines.iter().enumerate().skip(from);
    let mut matching = lines.filter(|(_, line)| line.contains(pattern));
    matching.next().map(|(at, _)| at)
}

async fn collect(pipe: impl AsyncRead + Unpin, output: watch::Sender<Output>) {
    let mut reader = BufReader::new(pipe);
    let mut bytes = Vec::new();
    while matches!(reader.read_until(b'\n', &mut bytes).await, Ok(read) if read > 0) {
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        output.send_modify(|output| output.lines.push(line));
        bytes.clear();
    }
    output.send_modify(|output| output.open_pipes -= 1);
}
