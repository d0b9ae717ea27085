//! A peer's server: its processes, what they use, and its files.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::Result;

/// Ticks a second in `/proc/PID/stat`.
const TICKS: f64 = 100.0;
const PATIENCE: Duration = Duration::from_secs(60);
/// What a server has to end by itself.
const FAREWELL: Duration = Duration::from_secs(10);

pub struct Server {
    /// None: somebody else ends it.
    child: Option<Child>,
    pid: u32,
    data: PathBuf,
}

impl Server {
    /// Starts a program and returns when it accepts on a port. Dropping it ends it and all its processes.
    pub async fn spawn(mut command: Command, data: &Path, port: u16) -> Result<Self> {
        let log = data.join("server.log");
        command
            .stdin(Stdio::null())
            .stdout(fs::File::create(&log)?)
            .stderr(fs::File::options().append(true).open(&log)?);
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let pid = child.id().ok_or("the server ended at once")?;
        let mut server = Self { child: Some(child), pid, data: data.into() };
        let start = Instant::now();
        // poll
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if server.has_ended() || start.elapsed() > PATIENCE {
                return Err(format!("the server does not serve: {}", fs::read_to_string(&log)?).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(server)
    }

    fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    pub fn of(pid: u32, data: &Path) -> Self {
        Self { child: None, pid, data: data.into() }
    }

    /// Processor seconds of the server and all that descends from it, the ended included.
    pub fn cpu_seconds(&self) -> f64 {
        let all: Vec<Times> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(Times::of)
            .collect();
        tree(self.pid, &all)
    }

    /// Bytes of its files, without the write-ahead log that Postgres keeps besides, and logs for people.
    pub fn disk_bytes(&self) -> u64 {
        bytes_under(&self.data)
    }
}

/// Asks first: a server that has children of its own ends them. Then none of its group is left.
impl Drop for Server {
    fn drop(&mut self) {
        let Some(group) = self.child.is_some().then(|| Pid::from_raw(self.pid as i32)).flatten() else { return };
        let _ = kill_process(group, Signal::TERM);
        let start = Instant::now();
        // poll
        while !self.has_ended() && start.elapsed() < FAREWELL {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = kill_process_group(group, Signal::KILL);
    }
}

pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Postgres runs as another user when started by root, who must be able to pass through.
pub fn let_pass(dir: &Path) -> Result<()> {
    Ok(fs::set_permissions(dir, fs::Permissions::from_mode(0o711))?)
}

fn bytes_under(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| !is_besides(&entry.file_name().to_string_lossy()))
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_under(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// The write-ahead log, and logs for people. Kafka's segments end in `.log` too; their names are numbers.
fn is_besides(name: &str) -> bool {
    name == "pg_wal" || (name.ends_with(".log") && !name.starts_with(|first: char| first.is_ascii_digit()))
}

struct Times {
    pid: u32,
    parent: u32,
    own: f64,
    ended_children: f64,
}

impl Times {
    fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let seconds = |index: usize| Some(fields.get(index)?.parse::<f64>().ok()? / TICKS);
        let (own, ended_children) = (seconds(11)? + seconds(12)?, seconds(13)? + seconds(14)?);
        Some(Self { pid, parent: fields.get(1)?.parse().ok()?, own, ended_children })
    }
}

fn tree(pid: u32, all: &[Times]) -> f64 {
    let own: f64 = all.iter().filter(|times| times.pid == pid).map(|times| times.own + times.ended_children).sum();
    own + all.iter().filter(|times| times.parent == pid).map(|times| tree(times.pid, all)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_for_people_are_no_data_and_segments_are() {
        assert!(is_besides("server.log") && is_besides("pg_wal"));
        assert!(!is_besides("00000000000000000000.log") && !is_besides("1.blk"));
    }

    #[test]
    fn a_server_is_charged_for_its_descendants_and_nobody_elses() {
        let times = |pid, parent, own| Times { pid, parent, own, ended_children: 0.5 };
        let all = [times(2, 1, 1.0), times(3, 2, 2.0), times(4, 3, 4.0), times(5, 1, 8.0)];
        assert_eq!(tree(2, &all), 8.5);
    }
}
