//! NATS JetStream, one server, file storage.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use async_nats::jetstream::{self, consumer, context::PublishAckFuture, stream};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::ReadyChunks;
use tokio::process::Command;

use crate::Result;
use crate::peer::{About, Absent, Batching, Consumer, Peer, Producer};
use crate::server::{Server, free_port};
use crate::workload::program;

/// The server refuses more than 10,000.
const OUTSTANDING: usize = 8_000;
const BATCH: usize = 1_000;
/// The client gives up after 5 s, which so many outstanding take on a slow disk when each is flushed by itself.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Nats {
    server: Server,
    port: u16,
    version: String,
    is_flushed: bool,
}

impl Nats {
    /// The program is in `tools`, where `scripts/compare-setup.sh` puts a current one, or on the PATH.
    pub async fn start(dir: &Path, tools: &Path, is_flushed: bool) -> Result<Self> {
        let current = tools.join("bin/nats-server");
        let binary = if current.is_file() { current } else { program(&["nats-server"])? };
        let version = Command::new(&binary).arg("--version").output().await?;
        let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
        if is_flushed && !knows_always(&version) {
            return Err(Absent(format!("{version} has no `sync_interval: always`, 2.10 has")).into());
        }
        let port = free_port()?;
        let sync = if is_flushed { ", sync_interval: always" } else { "" };
        let config = dir.join("nats.conf");
        let store = dir.join("store");
        std::fs::write(&config, format!("listen: 127.0.0.1:{port}\njetstream {{ store_dir: {store:?}{sync} }}\n"))?;
        let mut command = Command::new(binary);
        command.arg("-c").arg(config);
        Ok(Self { server: Server::spawn(command, dir, port).await?, port, version, is_flushed })
    }

    async fn context(&self) -> Result<jetstream::Context> {
        let mut context = jetstream::new(async_nats::connect(format!("127.0.0.1:{}", self.port)).await?);
        context.set_timeout(PATIENCE);
        Ok(context)
    }
}

/// `nats-server: v2.11.8`
fn knows_always(version: &str) -> bool {
    let mut numbers = version.rsplit('v').next().unwrap_or("").split('.').map(|number| number.parse::<u32>());
    matches!((numbers.next(), numbers.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (2, 10))
}

impl Peer for Nats {
    type Producer = Publishing;
    type Consumer = Reading;

    fn about(&self) -> About {
        About {
            version: self.version.clone(),
            configuration: format!(
                "file storage, {}",
                if self.is_flushed { "sync_interval always" } else { "defaults" }
            ),
            flushed_before_ack: if self.is_flushed { "everything" } else { "nothing: every two minutes" }.into(),
            is_flushed: self.is_flushed,
        }
    }

    fn server(&self) -> &Server {
        &self.server
    }

    async fn stream(&mut self, name: &str, groups: &[String]) -> Result<()> {
        let config = stream::Config { name: name.into(), subjects: vec![name.into()], ..Default::default() };
        let stream = self.context().await?.create_stream(config).await?;
        for group in groups {
            let durable_name = Some(group.clone());
            let ack_policy = consumer::AckPolicy::All;
            let max_ack_pending = 10 * BATCH as i64;
            stream
                .create_consumer(consumer::pull::Config {
                    durable_name,
                    ack_policy,
                    max_ack_pending,
                    ..Default::default()
                })
                .await?;
        }
        Ok(())
    }

    async fn producer(&self, stream: &str, _: Batching) -> Result<Publishing> {
        let context = self.context().await?;
        Ok(Publishing { context, stream: stream.into(), flying: VecDeque::new(), acknowledged: 0 })
    }

    async fn consumer(&self, stream: &str, group: &str) -> Result<Reading> {
        let consumer: consumer::PullConsumer = self.context().await?.get_consumer_from_stream(group, stream).await?;
        let messages = consumer.stream().max_messages_per_batch(BATCH).messages().await?.ready_chunks(BATCH / 2);
        Ok(Reading { messages, last: None })
    }

    async fn stored(&self, stream: &str) -> Result<u64> {
        Ok(self.context().await?.get_stream(stream).await?.info().await?.state.messages)
    }
}

pub struct Publishing {
    context: jetstream::Context,
    stream: String,
    flying: VecDeque<PublishAckFuture>,
    acknowledged: u64,
}

impl Publishing {
    async fn land(&mut self) -> Result<()> {
        if let Some(oldest) = self.flying.pop_front() {
            oldest.await?;
            self.acknowledged += 1;
        }
        Ok(())
    }
}

impl Producer for Publishing {
    async fn send(&mut self, payload: Bytes) -> Result<()> {
        if self.flying.len() >= OUTSTANDING {
            self.land().await?;
        }
        let sent = self.context.publish(self.stream.clone(), payload).await?;
        self.flying.push_back(sent);
        Ok(())
    }

    async fn flush(&mut self) -> Result<u64> {
        while !self.flying.is_empty() {
            self.land().await?;
        }
        Ok(self.acknowledged)
    }

    async fn one(&mut self, payload: Bytes) -> Result<()> {
        self.context.publish(self.stream.clone(), payload).await?.await?;
        Ok(())
    }
}

/// Acknowledges the last of what it gave, and so all before it.
pub struct Reading {
    messages: ReadyChunks<consumer::pull::Stream>,
    last: Option<jetstream::Message>,
}

impl Consumer for Reading {
    async fn next(&mut self) -> Result<Vec<Bytes>> {
        if let Some(last) = self.last.take() {
            last.ack().await?;
        }
        let chunk = self.messages.next().await.ok_or("the consumer ended")?;
        let mut payloads = Vec::with_capacity(chunk.len());
        for message in chunk {
            let message = message?;
            payloads.push(message.payload.clone());
            self.last = Some(message);
        }
        Ok(payloads)
    }
}
