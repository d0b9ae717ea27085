//! Apache Kafka: one node in KRaft mode, from its published jars.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, FutureProducer, FutureRecord, Producer as _, ProducerContext, ThreadedProducer,
};
use rdkafka::{ClientConfig, ClientContext, Message};
use tokio::process::Command;

use crate::Result;
use crate::peer::{About, Absent, Batching, Consumer, Peer, Producer};
use crate::server::{Server, free_port};
use crate::workload::program;

const PARTITIONS: i32 = 8;
/// Records given at once, if they are there.
const CHUNK: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Kafka {
    server: Server,
    port: u16,
    version: String,
    is_flushed: bool,
}

impl Kafka {
    /// The jars are in `tools/kafka`, where `scripts/compare-setup.sh` puts them.
    pub async fn start(dir: &Path, tools: &Path, is_flushed: bool) -> Result<Self> {
        let java = program(&["java"])?;
        let jars = tools.join("kafka");
        let version = version(&jars).ok_or_else(|| Absent(format!("no Kafka in {}", jars.display())))?;
        let (port, controller) = (free_port()?, free_port()?);
        let properties = dir.join("server.properties");
        std::fs::write(&properties, configuration(dir, port, controller, is_flushed))?;
        let run = |heap: &str, class: &str| {
            let mut command = Command::new(&java);
            command.current_dir(dir).args([&format!("-Xms{heap}"), &format!("-Xmx{heap}"), "-XX:+UseG1GC", "-cp"]);
            command.arg(jars.join("*")).arg(class);
            command
        };
        let mut format = run("256m", "kafka.tools.StorageTool");
        format.args(["format", "--standalone", "-t", "Y29tcGFyZS1ldmVudGZsbw", "-c"]).arg(&properties);
        let formatted = format.output().await?;
        if !formatted.status.success() {
            return Err(format!("Kafka's storage: {}", String::from_utf8_lossy(&formatted.stderr)).into());
        }
        let mut command = run("1g", "kafka.Kafka");
        command.arg(&properties);
        Ok(Self { server: Server::spawn(command, dir, port).await?, port, version, is_flushed })
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", format!("127.0.0.1:{}", self.port));
        config
    }
}

fn version(jars: &Path) -> Option<String> {
    let names = std::fs::read_dir(jars).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| Some(name.strip_prefix("kafka_2.13-")?.strip_suffix(".jar")?.to_owned())).next()
}

/// Kafka keeps offsets in one of its own.
const OFFSETS: &str = concat!(
    "offsets.topic.replication.factor=1\n", // Kafka's name
    "offsets.topic.num.partitions=8\n",     // Kafka's name
);

fn configuration(dir: &Path, port: u16, controller: u16, is_flushed: bool) -> String {
    let flush = if is_flushed { "log.flush.interval.messages=1\n" } else { "" };
    format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
         log.dirs={}\ntransaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\ngroup.initial.rebalance.delay.ms=0\n{OFFSETS}{flush}",
        dir.join("logs").display()
    )
}

impl Peer for Kafka {
    type Producer = Publishing;
    type Consumer = StreamConsumer;

    fn about(&self) -> About {
        let flush = if self.is_flushed { "log.flush.interval.messages=1" } else { "defaults" };
        About {
            version: format!("Apache Kafka {}", self.version),
            configuration: format!(
                "KRaft, one node, 1 GB of heap, {flush}, {PARTITIONS} partitions; librdkafka, acks=all, at its best lz4"
            ),
            flushed_before_ack: if self.is_flushed { "everything" } else { "nothing: the page cache" }.into(),
            is_flushed: self.is_flushed,
        }
    }

    fn server(&self) -> &Server {
        &self.server
    }

    async fn stream(&mut self, name: &str, _: &[String]) -> Result<()> {
        let kafka: AdminClient<DefaultClientContext> = self.client().create()?;
        let new = NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        for created in kafka.create_topics([&new], &options).await? {
            created.map_err(|(name, code)| format!("{name}: {code}"))?;
        }
        Ok(())
    }

    async fn producer(&self, stream: &str, batching: Batching) -> Result<Publishing> {
        let mut config = self.client();
        if batching == Batching::Best {
            config.set("compression.type", "lz4").set("linger.ms", "5").set("batch.size", "1000000");
            config.set("queue.buffering.max.messages", "200000");
        }
        Ok(Publishing { config, stream: stream.into(), many: None, single: None })
    }

    async fn consumer(&self, stream: &str, group: &str) -> Result<StreamConsumer> {
        let mut config = self.client();
        config.set("group.id", group).set("auto.offset.reset", "earliest").set("fetch.queue.backoff.ms", "5");
        let consumer: StreamConsumer = config.create()?;
        consumer.subscribe(&[stream])?;
        Ok(consumer)
    }

    async fn stored(&self, stream: &str) -> Result<u64> {
        let (client, stream) = (self.client().create::<BaseConsumer>()?, stream.to_owned());
        let counted = tokio::task::spawn_blocking(move || {
            (0..PARTITIONS).try_fold(0, |sum, partition| {
                let (low, high) = client.fetch_watermarks(&stream, partition, PATIENCE)?;
                Ok::<_, crate::Failure>(sum + u64::try_from(high - low)?)
            })
        });
        counted.await?
    }
}

#[derive(Clone, Default)]
struct Counts(Arc<(AtomicU64, AtomicU64)>);

impl ClientContext for Counts {}

impl ProducerContext for Counts {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let counter = if result.is_ok() { &self.0.0 } else { &self.0.1 };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

pub struct Publishing {
    config: ClientConfig,
    stream: String,
    /// Made when first used: each has threads and connections.
    many: Option<(ThreadedProducer<Counts>, Counts)>,
    single: Option<FutureProducer>,
}

impl Producer for Publishing {
    async fn send(&mut self, payload: Bytes) -> Result<()> {
        let (producer, counts) = match &mut self.many {
            Some(many) => many,
            none => {
                let counts = Counts::default();
                none.insert((self.config.create_with_context(counts.clone())?, counts))
            }
        };
        let mut record = BaseRecord::<(), [u8]>::to(&self.stream).payload(&payload[..]);
        loop {
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => record = refused,
                Err((failure, _)) => return Err(failure.into()),
            }
            if counts.0.1.load(Ordering::Relaxed) > 0 {
                return Err("a record was refused".into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn flush(&mut self) -> Result<u64> {
        let Some((producer, counts)) = &self.many else { return Ok(0) };
        let producer = producer.clone();
        tokio::task::spawn_blocking(move || producer.flush(PATIENCE)).await??;
        Ok(counts.0.0.load(Ordering::Relaxed))
    }

    async fn one(&mut self, payload: Bytes) -> Result<()> {
        let producer = match &mut self.single {
            Some(single) => single,
            none => none.insert(self.config.clone().set("linger.ms", "0").create()?),
        };
        let record = FutureRecord::<(), [u8]>::to(&self.stream).payload(&payload[..]);
        let delivery = producer.send_result(record).map_err(|(failure, _)| failure)?;
        delivery.await?.map_err(|(failure, _)| failure)?;
        Ok(())
    }
}

/// With the client's automatic commits.
impl Consumer for StreamConsumer {
    async fn next(&mut self) -> Result<Vec<Bytes>> {
        let payload =
            |message: &rdkafka::message::BorrowedMessage<'_>| Bytes::copy_from_slice(message.payload().unwrap_or(&[]));
        let mut payloads = vec![payload(&self.recv().await?)];
        while payloads.len() < CHUNK {
            match self.recv().now_or_never() {
                Some(message) => payloads.push(payload(&message?)),
                None => break,
            }
        }
        Ok(payloads)
    }
}
