//! Queues in plain SQL on Postgres, with pgmq's semantics: a table a queue, a visibility timeout, delete when done. It
//! has no groups: each group is a queue, and a publish inserts into all of its stream's.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use eventflow_embedded::{Cluster, Options, Search, Settings, Stop};
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls, Statement};

use crate::Result;
use crate::peer::{About, Batching, Consumer, Peer, Producer};
use crate::server::{Server, let_pass};

const BATCH: usize = 500;
/// Connections that publish, one batch each.
const CONNECTIONS: usize = 4;
const READ: i64 = 1_000;

pub struct SqlQueue {
    server: Server,
    queues: HashMap<String, Vec<String>>,
    cluster: Cluster,
    relocated: Option<PathBuf>,
}

impl SqlQueue {
    pub async fn start(dir: &Path) -> Result<Self> {
        let_pass(dir)?;
        let mut options = Options::new(dir, Search::default().path(std::env::var_os("PATH")));
        // Deleted rows pile up between vacuums, and every read walks over them.
        options.settings = Settings::durable()
            .set("shared_buffers", "256MB")
            .set("default_toast_compression", "lz4")
            .set("autovacuum_naptime", "5s")
            .set("autovacuum_vacuum_cost_delay", "0");
        let mut cluster = tokio::task::spawn_blocking(move || {
            let mut cluster = Cluster::prepare(options)?;
            cluster.start()?;
            Ok::<_, crate::Failure>(cluster)
        })
        .await??;
        let pid = cluster.pid().ok_or("Postgres ended at once")?;
        let server = Server::of(pid, &cluster.data_dir());
        let relocated = cluster.placement().relocated.then(|| cluster.placement().actual.clone());
        Ok(Self { server, queues: HashMap::new(), cluster, relocated })
    }

    async fn client(&self) -> Result<Client> {
        connect(&self.cluster.connection_url()).await
    }
}

/// A plan made once, while a queue is empty, would read and sort all of it ever after.
async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute("set plan_cache_mode = force_custom_plan").await?;
    Ok(client)
}

impl Drop for SqlQueue {
    fn drop(&mut self) {
        let _ = self.cluster.stop(Stop::Immediate);
        if let Some(elsewhere) = &self.relocated {
            let _ = std::fs::remove_dir_all(elsewhere);
        }
    }
}

impl Peer for SqlQueue {
    type Producer = Publishing;
    type Consumer = Reading;

    fn about(&self) -> About {
        About {
            version: format!("Postgres {}", self.cluster.binaries().version.text),
            configuration:
                "fsync and synchronous_commit on, 256 MB of shared buffers, autovacuum every 5 s without pauses, bytea payloads, \
                 polled every 1 ms".into(),
            flushed_before_ack: "everything: the commit".into(),
            is_flushed: true,
        }
    }

    fn server(&self) -> &Server {
        &self.server
    }

    async fn stream(&mut self, name: &str, groups: &[String]) -> Result<()> {
        let queues = if groups.is_empty() { vec![name.to_owned()] } else { groups.to_vec() };
        let client = self.client().await?;
        for queue in &queues {
            let sql = format!(
                "create table q_{queue} (msg_id bigint primary key generated always as identity, read_ct int not null default 0,
                     enqueued_at timestamptz not null default now(), vt timestamptz not null, message bytea);
                 create index on q_{queue} (vt)"
            );
            client.batch_execute(&sql).await?;
        }
        self.queues.insert(name.into(), queues);
        Ok(())
    }

    async fn producer(&self, stream: &str, batching: Batching) -> Result<Publishing> {
        let queues = self.queues.get(stream).ok_or("no such stream")?;
        let mut publishing = Publishing {
            url: self.cluster.connection_url(),
            sql: insert_into(queues),
            batching,
            connections: 0,
            idle: Vec::new(),
            flying: JoinSet::new(),
            waiting: Vec::new(),
            acknowledged: 0,
        };
        publishing.connect().await?;
        Ok(publishing)
    }

    async fn consumer(&self, _: &str, group: &str) -> Result<Reading> {
        let client = self.client().await?;
        let read = client
            .prepare(&format!(
                "with chosen as (select msg_id from q_{group} where vt <= clock_timestamp() order by msg_id limit $1
                                 for update skip locked)
                 update q_{group} q set vt = clock_timestamp() + interval '30 s', read_ct = read_ct + 1
                   from chosen where q.msg_id = chosen.msg_id returning q.msg_id, q.message"
            ))
            .await?;
        let delete = client.prepare(&format!("delete from q_{group} where msg_id = any($1)")).await?;
        Ok(Reading { client, read, delete, given: Vec::new() })
    }

    async fn stored(&self, stream: &str) -> Result<u64> {
        let row = self.client().await?.query_one(&format!("select count(*) from q_{stream}"), &[]).await?;
        Ok(u64::try_from(row.try_get::<_, i64>(0)?)?)
    }
}

/// One statement that inserts an array of events into every queue of a stream.
fn insert_into(queues: &[String]) -> String {
    let insert =
        |queue: &String| format!("insert into q_{queue} (vt, message) select clock_timestamp(), unnest($1::bytea[])");
    let inserts: Vec<String> = queues.iter().map(insert).collect();
    let Some((last, others)) = inserts.split_last() else { return String::new() };
    let with: Vec<String> = others.iter().enumerate().map(|(n, insert)| format!("i{n} as ({insert})")).collect();
    if with.is_empty() { last.clone() } else { format!("with {} {last}", with.join(", ")) }
}

type Line = (Client, Statement);

pub struct Publishing {
    url: String,
    sql: String,
    batching: Batching,
    /// Opened when needed.
    connections: usize,
    idle: Vec<Line>,
    flying: JoinSet<Result<(Line, u64)>>,
    waiting: Vec<Bytes>,
    acknowledged: u64,
}

impl Publishing {
    async fn connect(&mut self) -> Result<()> {
        let client = connect(&self.url).await?;
        let statement = client.prepare(&self.sql).await?;
        self.idle.push((client, statement));
        self.connections += 1;
        Ok(())
    }

    async fn land(&mut self) -> Result<()> {
        if let Some(landed) = self.flying.join_next().await {
            let (line, inserted) = landed??;
            self.idle.push(line);
            self.acknowledged += inserted;
        }
        Ok(())
    }

    async fn launch(&mut self) -> Result<()> {
        match (self.idle.is_empty(), self.connections < CONNECTIONS) {
            (true, true) => self.connect().await?,
            (true, false) => self.land().await?,
            _ => {}
        }
        let (client, statement) = self.idle.pop().ok_or("no connection is left")?;
        let events = std::mem::take(&mut self.waiting);
        if self.batching == Batching::Default {
            // A statement an event, many under way on a connection.
            self.flying.spawn(async move {
                let (client_of, statement_of) = (&client, &statement);
                let each = events.iter().map(|event| async move {
                    let values: Vec<&[u8]> = vec![event];
                    client_of.execute(statement_of, &[&values]).await
                });
                let inserted = futures_util::future::try_join_all(each).await?.iter().sum();
                Ok(((client, statement), inserted))
            });
            return Ok(());
        }
        self.flying.spawn(async move {
            let values: Vec<&[u8]> = events.iter().map(|event| &event[..]).collect();
            let inserted = client.execute(&statement, &[&values]).await?;
            Ok(((client, statement), inserted))
        });
        Ok(())
    }
}

impl Producer for Publishing {
    async fn send(&mut self, payload: Bytes) -> Result<()> {
        self.waiting.push(payload);
        if self.waiting.len() >= BATCH { self.launch().await } else { Ok(()) }
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
        let (client, statement) = self.idle.last().ok_or("no connection is idle")?;
        client.execute(statement, &[&vec![&payload[..]]]).await?;
        Ok(())
    }
}

pub struct Reading {
    client: Client,
    read: Statement,
    delete: Statement,
    given: Vec<i64>,
}

impl Consumer for Reading {
    async fn next(&mut self) -> Result<Vec<Bytes>> {
        if !self.given.is_empty() {
            self.client.execute(&self.delete, &[&std::mem::take(&mut self.given)]).await?;
        }
        loop {
            let rows = self.client.query(&self.read, &[&READ]).await?;
            if rows.is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
            self.given = rows.iter().map(|row| row.get(0)).collect();
            return Ok(rows.iter().map(|row| Bytes::copy_from_slice(row.get(1))).collect());
        }
    }
}
