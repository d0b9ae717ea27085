//! Joins the group `billing` of the stream `orders`, and prints events until Ctrl-C. Run several: they share the partitions.
//! Kill a broker meanwhile: it says so, and goes on.
//!
//! ```sh
//! cargo run -p eventflow --example consume
//! ```
#![expect(clippy::print_stdout, reason = "an example talks to a person")]

use eventflow::{Client, ClientOptions, ErrorKind, GroupSpec, Notice, Position, Result};
use futures_util::StreamExt;

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::connect_with(ClientOptions::from_env()?.application("example")).await?;
    let created = client.groups().create("billing", "orders", Position::Earliest, GroupSpec::default()).await;
    match created {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }

    let mut consumer = client.consumer("billing").build().await?;
    let mut notices = consumer.notices();
    println!("{} waits for orders; Ctrl-C ends it", consumer.member_name());
    loop {
        tokio::select! {
            record = consumer.next() => match record {
                // Asking for the next record says that this one is done.
                Some(record) => {
                    let record = record?;
                    println!(
                        "{}@{} {}: {}",
                        record.partition(),
                        record.offset(),
                        record.key().unwrap_or("-"),
                        String::from_utf8_lossy(record.payload())
                    );
                }
                None => break,
            },
            Some(notice) = notices.next() => match notice {
                Notice::Reconnected { after, broker, .. } => {
                    println!("reconnected to {broker} after {:.1} s", after.as_secs_f64());
                }
                other => println!("{other:?}"),
            },
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    consumer.close().await
}
