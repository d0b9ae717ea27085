//! A Redis of its own, for tests that freeze, kill and restart it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{Process, Signal, free_port, within};

/// Makes the tests that need a Redis fail where there is none, instead of passing without having run.
const REQUIRED: &str = "EVENTFLOW_TEST_REDIS";

/// What a Redis shows and asks of its clients.
#[derive(Clone, Debug, Default)]
pub struct RedisOptions {
    pub password: Option<&'static str>,
    /// TLS and nothing else: certificate, key, and the authority of the certificates that clients must show, in PEM form.
    pub tls: Option<[&'static str; 3]>,
}

/// A running `redis-server`, without persistence. Dropping it kills it.
#[derive(Debug)]
pub struct RedisServer {
    dir: tempfile::TempDir,
    port: u16,
    options: RedisOptions,
    process: Process,
}

impl RedisServer {
    /// `None`, after saying so, on a machine without Redis; with `EVENTFLOW_TEST_REDIS=required` that is a panic.
    pub async fn start() -> Option<RedisServer> {
        RedisServer::start_with(RedisOptions::default()).await
    }

    /// The same with a password or TLS.
    pub async fn start_with(options: RedisOptions) -> Option<RedisServer> {
        let Some(program) = program() else {
            let required = std::env::var(REQUIRED).is_ok_and(|value| value == "required");
            assert!(!required, "there is no redis-server, and {REQUIRED}=required; run scripts/setup.sh");
            // Past the test harness, which shows what a test prints only when it fails.
            let line = b"NOT TESTED: there is no redis-server on this machine; scripts/setup.sh installs it\n";
            let _ = std::io::stderr().write_all(line);
            return None;
        };
        let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("no directory for a Redis: {error}"));
        if let Some(files) = options.tls {
            for (name, content) in ["tls.crt", "tls.key", "ca.crt"].iter().zip(files) {
                write(&dir.path().join(name), content);
            }
        }
        let port = free_port();
        let process = launch(&program, dir.path(), port, &options).await;
        Some(RedisServer { dir, port, options, process })
    }

    /// As a broker's `redis.url`.
    pub fn url(&self) -> String {
        let scheme = if self.options.tls.is_some() { "rediss" } else { "redis" };
        let password = self.options.password.map(|password| format!(":{password}@")).unwrap_or_default();
        format!("{scheme}://{password}localhost:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// SIGSTOP: connections stay open and can be made, and nothing is answered.
    pub fn pause(&self) {
        self.process.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.process.signal(Signal::CONT);
    }

    /// SIGKILL: everything that it knew is gone.
    pub async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// The same Redis again at the same port, empty. Kill it before.
    pub async fn restart(&mut self) {
        let program = program().unwrap_or_else(|| panic!("the redis-server of this machine has gone"));
        self.process = launch(&program, self.dir.path(), self.port, &self.options).await;
    }

    /// What a command answers, as the protocol writes it. Without TLS and password only.
    pub fn command(&self, words: &[&str]) -> String {
        let mut text = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| text.push_str(&format!("${}\r\n{word}\r\n", word.len())));
        let talk = || {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(text.as_bytes())?;
            let mut answer = vec![0; 1 << 16];
            let length = stream.read(&mut answer)?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer[..length]).into_owned())
        };
        talk().unwrap_or_else(|error| panic!("`{}` got no answer: {error}", words.join(" ")))
    }
}

/// The server's program. Debian has it in `redis-tools` (without a service that would be started) under the name of the tool
/// that it is as well; it goes by the name that it is called by.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let find = |name: &&str| std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    ["redis-server", "valkey-server", "redis-check-rdb", "valkey-check-rdb"].iter().find_map(find)
}

async fn launch(program: &Path, dir: &Path, port: u16, options: &RedisOptions) -> Process {
    let mut settings = format!("bind 127.0.0.1\nsave \"\"\nappendonly no\ndir {}\n", dir.display());
    match options.tls {
        None => settings.push_str(&format!("port {port}\n")),
        Some(_) => {
            let file = |name| dir.join(name).display().to_string();
            settings.push_str(&format!("port 0\ntls-port {port}\ntls-auth-clients yes\n"));
            settings.push_str(&format!("tls-cert-file {}\ntls-key-file {}\n", file("tls.crt"), file("tls.key")));
            settings.push_str(&format!("tls-ca-cert-file {}\n", file("ca.crt")));
        }
    }
    if let Some(password) = options.password {
        settings.push_str(&format!("requirepass {password}\n"));
    }
    let file = dir.join("redis.conf");
    write(&file, &settings);
    let mut command = Command::new(program);
    command.arg0("redis-server").arg(&file);
    let mut process = Process::start(command);
    process.wait_for_line("Ready to accept connections").await;
    let answers = async {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        // poll
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {}
    };
    within("a Redis", answers).await;
    process
}

fn write(path: &Path, content: &str) {
    std::fs::write(path, content).unwrap_or_else(|error| panic!("could not write `{}`: {error}", path.display()));
}
