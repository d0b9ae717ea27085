//! RabbitMQ Streams: one node with the stream plugin. It never flushes before it confirms.

use std::path::Path;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::stream_protocol::{Chunk, Connection, From, Reader, confirmed, credit, publish};
use crate::Result;
use crate::peer::{About, Absent, Batching, Consumer, Peer, Producer};
use crate::server::{Server, free_port};
use crate::workload::program;

/// What Debian's package installs; the program on the PATH insists on a user of its own.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
/// Unconfirmed, as the Java client has it.
const OUTSTANDING: u64 = 10_000;
/// Chunks that may be on their way to a consumer.
const CREDITS: u16 = 10;

pub struct RabbitMq {
    server: Server,
    /// Erlang's directory of nodes, for this one only.
    _epmd: Server,
    port: u16,
    version: String,
}

impl RabbitMq {
    pub async fn start(dir: &Path) -> Result<Self> {
        let epmd = program(&["epmd"])?;
        if !Path::new(PROGRAM).is_file() {
            return Err(Absent(format!("{PROGRAM} is not installed")).into());
        }
        let (port, amqp, nodes, distribution) = (free_port()?, free_port()?, free_port()?, free_port()?);
        let (plugins, config) = (dir.join("enabled_plugins"), dir.join("rabbitmq.conf"));
        std::fs::write(&plugins, "[rabbitmq_stream].\n")?;
        std::fs::write(
            &config,
            format!("listeners.tcp.1 = 127.0.0.1:{amqp}\nstream.listeners.tcp.1 = 127.0.0.1:{port}\n"),
        )?;
        let directory_of_nodes = dir.join("epmd");
        std::fs::create_dir_all(&directory_of_nodes)?;
        let mut command = Command::new(epmd);
        command.args(["-address", "127.0.0.1", "-port", &nodes.to_string()]);
        let epmd = Server::spawn(command, &directory_of_nodes, nodes).await?;
        let mut command = Command::new(PROGRAM);
        command.current_dir(dir).env("HOME", dir).env("ERL_EPMD_PORT", nodes.to_string());
        command.env("ERL_EPMD_ADDRESS", "127.0.0.1");
        command.env("RABBITMQ_NODENAME", "compare@localhost").env("RABBITMQ_MNESIA_BASE", dir.join("data"));
        command.env("RABBITMQ_LOG_BASE", dir.join("logs")).env("RABBITMQ_ENABLED_PLUGINS_FILE", plugins);
        command.env("RABBITMQ_CONFIG_FILE", config).env("RABBITMQ_DIST_PORT", distribution.to_string());
        command.env("RABBITMQ_CONF_ENV_FILE", dir.join("none")).env("RABBITMQ_NODE_PORT", amqp.to_string());
        let server = Server::spawn(command, dir, port).await?;
        Ok(Self { server, _epmd: epmd, port, version: version().await? })
    }
}

/// As the package says it.
async fn version() -> Result<String> {
    let query = Command::new("dpkg-query").args(["-W", "-f", "${Version}", "rabbitmq-server"]).output().await?;
    Ok(format!("RabbitMQ {}", String::from_utf8_lossy(&query.stdout).trim()))
}

impl Peer for RabbitMq {
    type Producer = Publishing;
    type Consumer = Reading;

    fn about(&self) -> About {
        About {
            version: self.version.clone(),
            configuration: format!(
                "stream plugin, defaults; a client of the harness' own, without Nagle's algorithm, {CREDITS} credits"
            ),
            flushed_before_ack: "nothing: the page cache; it has no other way".into(),
            is_flushed: false,
        }
    }

    fn server(&self) -> &Server {
        &self.server
    }

    async fn stream(&mut self, name: &str, _: &[String]) -> Result<()> {
        Connection::open(self.port).await?.create(name).await
    }

    async fn producer(&self, stream: &str, batching: Batching) -> Result<Publishing> {
        let mut connection = Connection::open(self.port).await?;
        connection.declare_publisher(stream).await?;
        let (told, confirmed) = watch::channel(0);
        let reader = tokio::spawn(count_confirmations(connection.read, told));
        let batch = if batching == Batching::Best { 500 } else { 100 };
        Ok(Publishing { write: connection.write, batch, waiting: Vec::new(), sent: 0, confirmed, reader })
    }

    async fn consumer(&self, stream: &str, _: &str) -> Result<Reading> {
        let mut connection = Connection::open(self.port).await?;
        connection.subscribe(stream, From::First, CREDITS).await?;
        Ok(Reading { read: connection.read, write: connection.write })
    }

    /// Reads the heads of all chunks: the server of this version has no count.
    async fn stored(&self, stream: &str) -> Result<u64> {
        let mut last = Connection::open(self.port).await?;
        last.subscribe(stream, From::Last, 1).await?;
        let end = chunk(&mut last.read).await?.first_offset;
        let mut all = Connection::open(self.port).await?;
        all.subscribe(stream, From::First, CREDITS).await?;
        let mut events = 0;
        loop {
            let chunk = chunk(&mut all.read).await?;
            events += u64::from(chunk.events);
            if chunk.first_offset >= end {
                return Ok(events);
            }
            all.write.write_all(&credit(1)).await?;
        }
    }
}

async fn chunk(read: &mut Reader) -> Result<Chunk> {
    loop {
        let (key, frame) = read.frame().await?;
        if let Some(chunk) = Chunk::of(key, frame)? {
            return Ok(chunk);
        }
    }
}

async fn count_confirmations(mut read: Reader, told: watch::Sender<u64>) -> crate::Failure {
    loop {
        let counted = match read.frame().await {
            Ok((key, frame)) => confirmed(key, frame),
            Err(failure) => Err(failure),
        };
        match counted {
            Ok(more) => told.send_modify(|events| *events += more),
            Err(failure) => {
                eprintln!("a publisher ended: {failure}");
                return failure;
            }
        }
    }
}

pub struct Publishing {
    write: OwnedWriteHalf,
    batch: usize,
    waiting: Vec<Bytes>,
    sent: u64,
    confirmed: watch::Receiver<u64>,
    reader: JoinHandle<crate::Failure>,
}

impl Publishing {
    async fn launch(&mut self) -> Result<()> {
        let events = std::mem::take(&mut self.waiting);
        self.write.write_all(&publish(self.sent, &events)).await?;
        self.sent += events.len() as u64;
        Ok(())
    }

    async fn until(&mut self, confirmed: u64) -> Result<u64> {
        let events = self.confirmed.wait_for(|events| *events >= confirmed).await;
        Ok(*events.map_err(|_| "the server confirms no more (see above)")?)
    }
}

impl Drop for Publishing {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Producer for Publishing {
    async fn send(&mut self, payload: Bytes) -> Result<()> {
        self.waiting.push(payload);
        if self.waiting.len() < self.batch {
            return Ok(());
        }
        self.launch().await?;
        self.until(self.sent.saturating_sub(OUTSTANDING)).await.map(drop)
    }

    async fn flush(&mut self) -> Result<u64> {
        if !self.waiting.is_empty() {
            self.launch().await?;
        }
        self.until(self.sent).await
    }

    async fn one(&mut self, payload: Bytes) -> Result<()> {
        self.waiting.push(payload);
        self.flush().await.map(drop)
    }
}

pub struct Reading {
    read: Reader,
    write: OwnedWriteHalf,
}

impl Consumer for Reading {
    async fn next(&mut self) -> Result<Vec<Bytes>> {
        let chunk = chunk(&mut self.read).await?;
        self.write.write_all(&credit(1)).await?;
        chunk.payloads()
    }
}
