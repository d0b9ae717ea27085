//! One event: `hello/0 @ offset 0  1.9 ms`.

use std::time::Instant;

use serde_json::json;

use super::{Arguments, Last};
use crate::{
    client::stream_named,
    failure::{Exit, Failure, Result},
    output::{Style, since},
};

pub(super) async fn run(arguments: Arguments) -> Result<()> {
    if arguments.fields.uses_columns() {
        return Err(Failure::usage("columns are of files: use --key and --type for a single event"));
    }
    let payload = arguments.payload.unwrap_or_default();
    let json = serde_json::from_str::<serde::de::IgnoredAny>(&payload).is_ok();
    let mut event = arguments.fields.event(payload, json);
    if !arguments.fields.idempotency_key.is_empty() {
        event = event.with_idempotency_key(arguments.fields.idempotency_key.join(","));
    }
    let client = arguments.target.connect().await?;
    let stream = &arguments.stream;
    let sent = async {
        if let (Some(offset), Some(partition)) = (arguments.expect_offset, arguments.fields.partition) {
            let begun = Instant::now();
            let appended = client.publish_expecting(stream, partition, offset, vec![event]).await?;
            return Ok((appended.into_iter().next(), begun.elapsed()));
        }
        if let (Some(Last(offset)), Some(key)) = (arguments.expect_last, &arguments.fields.key) {
            let begun = Instant::now();
            let appended = client.publish_expecting_last(stream, key, offset, vec![event]).await?;
            return Ok((appended.into_iter().next(), begun.elapsed()));
        }
        let producer = client.producer(stream).build().await?;
        let begun = Instant::now();
        let appended = producer.send(event).await?.await?;
        let took = begun.elapsed();
        producer.close().await?;
        Ok((Some(appended), took))
    };
    let (appended, took) = match sent.await {
        Ok((Some(appended), took)) => (appended, took),
        Ok((None, _)) => return Err(Failure::new(Exit::Error, "PROTOCOL_ERROR", "the broker named no position")),
        Err(error) => return Err(stream_named(&client, stream, error).await),
    };
    let milliseconds = took.as_secs_f64() * 1e3;
    let object = json!({
        "stream": stream,
        "partition": appended.partition,
        "offset": appended.offset,
        "log_epoch": appended.log_epoch,
        "duplicate": appended.duplicate,
        "append_time": since(appended.append_time),
        "milliseconds": milliseconds,
    });
    arguments.output.open().object(&object, |paint| {
        let place = format!("{stream}/{} @ offset {}", appended.partition, appended.offset);
        let took = paint.with(Style::Faint, format!("{milliseconds:.1} ms"));
        let known = if appended.duplicate { "  (appended before)" } else { "" };
        format!("{place}  {took}{known}\n")
    })
}
