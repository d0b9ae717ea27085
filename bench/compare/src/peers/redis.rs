//! Redis Streams, append-only file on.

use std::path::Path;

use bytes::Bytes;
use fred::prelude::*;
use fred::types::streams::XReadResponse;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::Result;
use crate::peer::{About, Batching, Consumer, Peer, Producer};
use crate::server::{Server, free_port};
use crate::workload::program;

/// Commands of one pipeline, and pipelines under way.
const PIPELINE: usize = 500;
const PIPELINES: usize = 8;
const COUNT: u64 = 1_000;

pub struct Redis {
    server: Server,
    port: u16,
    version: String,
    is_flushed: bool,
}

impl Redis {
    pub async fn start(dir: &Path, is_flushed: bool) -> Result<Self> {
        let binary = program(&["redis-server", "redis-check-rdb"])?;
        let version = {
            let mut command = Command::new(&binary);
            command.arg0("redis-server").arg("--version").output().await?.stdout
        };
        let port = free_port()?;
        let mut command = Command::new(binary);
        // Debian's redis-tools has the server under another name; it looks at how it is called.
        command.arg0("redis-server").current_dir(dir);
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
        // Rewriting the file in the middle of a step would be charged to that step, and its size with it.
        command.args(["--auto-aof-rewrite-percentage", "0"]);
        command.args(["--appendfsync", if is_flushed { "always" } else { "everysec" }]);
        let server = Server::spawn(command, dir, port).await?;
        Ok(Self { server, port, version: short(&String::from_utf8_lossy(&version)), is_flushed })
    }

    async fn client(&self) -> Result<Client> {
        let client = Builder::from_config(Config::from_url(&format!("redis://127.0.0.1:{}", self.port))?).build()?;
        client.init().await?;
        Ok(client)
    }
}

/// `Redis server v=7.0.15 sha=…`
fn short(version: &str) -> String {
    let number = version.split_whitespace().find_map(|word| word.strip_prefix("v="));
    number.map_or_else(|| version.trim().to_owned(), |number| format!("Redis {number}"))
}

impl Peer for Redis {
    type Producer = Publishing;
    type Consumer = Reading;

    fn about(&self) -> About {
        About {
            version: self.version.clone(),
            configuration: format!(
                "appendfsync {}, no snapshots, no rewriting",
                if self.is_flushed { "always" } else { "everysec" }
            ),
            flushed_before_ack: if self.is_flushed { "everything" } else { "nothing: once a second" }.into(),
            is_flushed: self.is_flushed,
        }
    }

    fn server(&self) -> &Server {
        &self.server
    }

    async fn stream(&mut self, name: &str, groups: &[String]) -> Result<()> {
        let client = self.client().await?;
        for group in groups {
            let _: () = client.xgroup_create(name, group.as_str(), "0", true).await?;
        }
        Ok(())
    }

    async fn producer(&self, stream: &str, batching: Batching) -> Result<Publishing> {
        let client = self.client().await?;
        let (waiting, flying) = (Vec::new(), JoinSet::new());
        Ok(Publishing { client, stream: stream.into(), batching, waiting, flying, acknowledged: 0 })
    }

    async fn consumer(&self, stream: &str, group: &str) -> Result<Reading> {
        Ok(Reading { client: self.client().await?, stream: stream.into(), group: group.into(), given: Vec::new() })
    }

    async fn stored(&self, stream: &str) -> Result<u64> {
        Ok(self.client().await?.xlen(stream).await?)
    }
}

pub struct Publishing {
    client: Client,
    stream: String,
    batching: Batching,
    waiting: Vec<Bytes>,
    flying: JoinSet<Result<u64>>,
    acknowledged: u64,
}

impl Publishing {
    async fn land(&mut self) -> Result<()> {
        if let Some(landed) = self.flying.join_next().await {
            self.acknowledged += landed??;
        }
        Ok(())
    }

    async fn launch(&mut self) -> Result<()> {
        if self.flying.len() >= PIPELINES {
            self.land().await?;
        }
        let (client, stream, events) = (self.client.clone(), self.stream.clone(), std::mem::take(&mut self.waiting));
        if self.batching == Batching::Default {
            // Commands by themselves, which the client writes together as it can.
            self.flying.spawn(async move {
                let add = |event| {
                    client.xadd::<String, _, _, _, _>(stream.as_str(), false, None, "*", ("p", Value::Bytes(event)))
                };
                Ok(futures_util::future::try_join_all(events.into_iter().map(add)).await?.len() as u64)
            });
            return Ok(());
        }
        self.flying.spawn(async move {
            let pipeline = client.pipeline();
            for event in events {
                let _: () = pipeline.xadd(stream.as_str(), false, None, "*", ("p", Value::Bytes(event))).await?;
            }
            // An answer is the id of an event that Redis has taken.
            Ok(pipeline.all::<Vec<String>>().await?.len() as u64)
        });
        Ok(())
    }
}

impl Producer for Publishing {
    async fn send(&mut self, payload: Bytes) -> Result<()> {
        self.waiting.push(payload);
        if self.waiting.len() >= PIPELINE { self.launch().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<u64> {
        if !self.waiting.is_empty() {
            self.launch().await?;
        }
        while !self.flying.is_empty() {
            self.land().await?;
        }
        Ok(self.acknowledged)
    }

    async fn one(&mut self, payload: Bytes) -> Result<()> {
        let fields = ("p", Value::Bytes(payload));
        let _: String = self.client.xadd(self.stream.as_str(), false, None, "*", fields).await?;
        Ok(())
    }
}

pub struct Reading {
    client: Client,
    stream: String,
    group: String,
    given: Vec<String>,
}

impl Consumer for Reading {
    async fn next(&mut self) -> Result<Vec<Bytes>> {
        let (stream, group) = (self.stream.as_str(), self.group.as_str());
        if !self.given.is_empty() {
            let _: u64 = self.client.xack(stream, group, std::mem::take(&mut self.given)).await?;
        }
        let read: XReadResponse<String, String, String, Bytes> =
            self.client.xreadgroup_map(group, "one", Some(COUNT), Some(0), false, stream, ">").await?;
        let mut payloads = Vec::new();
        for (id, mut fields) in read.into_values().flatten() {
            payloads.push(fields.remove("p").ok_or("an entry without a payload")?);
            self.given.push(id);
        }
        Ok(payloads)
    }
}
