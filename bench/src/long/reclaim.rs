//! Retention turns a stream over: it keeps 128 MiB and is published to as fast as it takes events. Throughput has to stay
//! flat, and the tables have to stop growing.

use std::time::Instant;

use eventflow::{Retention, StreamSpec};

use super::record::{Record, tables};
use crate::arguments::LongArguments;
use crate::chart::Panel;
use crate::client_side::{Keys, publish_for};
use crate::ground::Ground;
use crate::payloads::{Kind, Pool};
use crate::{Result, output};

const STREAM: &str = "reclaim";
const RETAINED_BYTES_PER_PARTITION: u64 = 16 << 20;
/// The job's interval; the default of 30 s would keep that many seconds of events more.
const BROKER: [(&str, &str); 1] = [("jobs.retention_interval_s", "5")];

pub async fn run(arguments: &LongArguments) -> Result<()> {
    let ground = Ground::new(&arguments.place, &BROKER).await?;
    let retention = Retention { max_age: None, max_bytes_per_partition: RETAINED_BYTES_PER_PARTITION };
    ground.stream(STREAM, StreamSpec::default().retention(retention)).await?;
    let client = ground.client()?;
    let producer = client.producer(STREAM).build().await?;
    let mut pool = Pool::new(Kind::Json, 200);
    let mut record = Record::default();
    let start = Instant::now();
    output::show("seconds  events/s  retained events  log MiB");
    while start.elapsed() < arguments.span(3.0) {
        let published = publish_for(&producer, &mut pool, Keys::None, arguments.window()).await?;
        let retained = client.streams().statistics(STREAM).await?.events;
        let mut values = tables(ground.sql()).await?;
        let log = values.get("event_batch_bytes").copied().unwrap_or(0.0);
        values.insert("events_per_second".into(), published.per_second());
        values.insert("retained_events".into(), retained as f64);
        let second = start.elapsed().as_secs_f64();
        output::show(&format!(
            "{second:>7.0}  {:>8}  {retained:>15}  {:>7}",
            output::number(published.per_second()),
            output::number(log / 1_048_576.0)
        ));
        record.push(second, values);
    }
    producer.close().await?;
    let panels = [
        Panel {
            title: "events/s".into(),
            series: vec![record.series("published", record.column("events_per_second"))],
        },
        Panel {
            title: "MiB".into(),
            series: vec![
                record.series("event_batch", record.mebibytes("event_batch_bytes")),
                record.series("producer_run", record.mebibytes("producer_run_bytes")),
            ],
        },
    ];
    let title = "Publishing while retention keeps 128 MiB";
    record.write(&arguments.results, "reclaim", title, &panels, &[])?;
    ground.tear_down().await
}
