//! A broker as a process of its own, to be paused and killed: the `eventflow` binary that was built beside the tests.

use std::collections::BTreeMap;
use std::process::Command;

use eventflow_testkit::{Process, Signal, built_binary, free_ports, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// `eventflow serve`. Dropping it kills it.
pub struct BrokerProcess {
    process: Process,
    grpc: u16,
    http: u16,
}

impl BrokerProcess {
    /// A broker on this database, with settings of the test's own on top; returns when it serves.
    pub async fn start(database_url: &str, overrides: &[(&str, &str)]) -> Self {
        let [grpc, http] = free_ports();
        let (listen, probes) = (format!("127.0.0.1:{grpc}"), format!("127.0.0.1:{http}"));
        let mut settings = vec![
            ("database.url", database_url),
            ("database.allow_unsafe_durability", "true"),
            ("server.listen", &listen),
            ("http.listen", &probes),
        ];
        settings.extend_from_slice(overrides);
        let mut command = Command::new(built_binary("eventflow"));
        command.arg("serve").env_clear().env("HOME", "/nonexistent");
        for (name, value) in settings {
            command.arg("--set").arg(format!("{name}={value}"));
        }
        let mut process = Process::start(command);
        process.wait_for_line("serving").await;
        Self { process, grpc, http }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.grpc)
    }

    /// SIGSTOP: it stands still, and its connections stay open.
    pub fn pause(&self) {
        self.process.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.process.signal(Signal::CONT);
    }

    /// SIGKILL; returns when it is gone.
    pub async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// What it has logged so far.
    pub fn lines(&self) -> Vec<String> {
        self.process.lines()
    }

    /// Its metrics without labels, by name.
    pub async fn metrics(&self) -> BTreeMap<String, f64> {
        let answer = self.metrics_text().await;
        let pairs = answer.lines().filter_map(|line| line.split_once(' '));
        pairs.filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?))).collect()
    }

    /// Its metrics as the page shows them.
    pub async fn metrics_text(&self) -> String {
        let ask = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.http)).await.expect("the probes' port");
            let request = "GET /metrics HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).await.expect("asked");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("metrics");
            answer
        };
        within("a broker's metrics", ask).await
    }
}
