//! EventFlow: `eventflow dev`, a broker and its private, durable Postgres.

use std::path::Path;

use ::eventflow::{Client, ClientOptions, Event, GroupSpec, Position, StreamSpec};
use bytes::Bytes;
use tokio::process::Command;

use crate::Result;
use crate::peer::{About, Absent, Batching, Consumer, Peer, Producer};
use crate::server::{Server, free_port, let_pass};

pub struct EventFlow {
    server: Server,
    port: u16,
    api_key: String,
    version: String,
}

impl EventFlow {
    pub async fn start(dir: &Path, binary: &Path) -> Result<Self> {
        if !binary.is_file() {
            return Err(Absent(format!("{} is not built", binary.display())).into());
        }
        let_pass(dir)?;
        let version = Command::new(binary).arg("--version").output().await?;
        let (data, port, http) = (dir.join("dev"), free_port()?, free_port()?);
        let mut command = Command::new(binary);
        command.arg("dev").arg("--data-dir").arg(&data).args(["--listen", &format!("127.0.0.1:{port}")]);
        command.args(["--http", &format!("127.0.0.1:{http}")]);
        // It writes down how to reach it for the command line: not where a person's contexts are.
        command.env("HOME", dir).env("XDG_CONFIG_HOME", dir);
        let server = Server::spawn(command, dir, port).await?;
        // The port accepts a little before the file is there. // poll
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(30);
        let api_key = loop {
            let env = std::fs::read_to_string(data.join("dev.env")).unwrap_or_default();
            let mut lines = env.lines().map(|line| line.trim_start_matches("export "));
            match lines.find_map(|line| line.strip_prefix("EVENTFLOW_API_KEY=")) {
                Some(key) => break key.trim_matches(['"', '\'']).to_owned(),
                None if std::time::Instant::now() > patience => return Err("dev.env has no API key".into()),
                None => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        };
        let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
        Ok(Self { server, port, api_key, version })
    }

    fn client(&self) -> Result<Client> {
        let options = ClientOptions::new(&format!("eventflow://127.0.0.1:{}?tls=off", self.port))?;
        Ok(Client::lazy(options.api_key(&self.api_key).application("eventflow-compare")))
    }
}

impl Peer for EventFlow {
    type Producer = Publishing;
    type Consumer = ::eventflow::Consumer;

    fn about(&self) -> About {
        About {
            version: self.version.clone(),
            configuration: "eventflow dev, defaults: 8 partitions, idempotent producer".into(),
            flushed_before_ack: "everything: Postgres' commit".into(),
            is_flushed: true,
        }
    }

    fn server(&self) -> &Server {
        &self.server
    }

    async fn stream(&mut self, name: &str, groups: &[String]) -> Result<()> {
        let client = self.client()?;
        client.streams().create(name, StreamSpec::default()).await?;
        for group in groups {
            client.groups().create(group.as_str(), name, Position::Earliest, GroupSpec::default()).await?;
        }
        Ok(())
    }

    async fn producer(&self, stream: &str, _: Batching) -> Result<Publishing> {
        Ok(Publishing { producer: self.client()?.producer(stream).build().await?, sent: 0 })
    }

    async fn consumer(&self, _: &str, group: &str) -> Result<::eventflow::Consumer> {
        Ok(self.client()?.consumer(group).build().await?)
    }

    async fn stored(&self, stream: &str) -> Result<u64> {
        Ok(u64::try_from(self.client()?.streams().statistics(stream).await?.events)?)
    }
}

pub struct Publishing {
    producer: ::eventflow::Producer,
    sent: u64,
}

impl Producer for Publishing {
    async fn send(&mut self, payload: Bytes) -> Result<()> {
        // The flush tells of failures.
        drop(self.producer.send(Event::new(payload)).await?);
        self.sent += 1;
        Ok(())
    }

    /// A flush succeeds when every event sent before it is acknowledged.
    async fn flush(&mut self) -> Result<u64> {
        self.producer.flush().await?;
        Ok(self.sent)
    }

    async fn one(&mut self, payload: Bytes) -> Result<()> {
        self.producer.send(Event::new(payload)).await?.await?;
        Ok(())
    }
}

/// In auto-commit: a record is settled when the next one is asked for.
impl Consumer for ::eventflow::Consumer {
    async fn next(&mut self) -> Result<Vec<Bytes>> {
        let record = futures_util::StreamExt::next(self).await.ok_or("the consumer ended")??;
        Ok(vec![record.event().payload().clone()])
    }
}
