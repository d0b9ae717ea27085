//! Commits by hand, after the effect of each batch is safe: what was not committed comes again.
//!
//! ```sh
//! cargo run -p eventflow --example explicit_commit
//! ```
#![expect(clippy::print_stdout, reason = "an example talks to a person")]

use eventflow::{Client, ClientOptions, ErrorKind, GroupSpec, Position, Result, error::reason};

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::connect_with(ClientOptions::from_env()?).await?;
    let created = client.groups().create("ledger", "orders", Position::Earliest, GroupSpec::default()).await;
    match created {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }

    let mut consumer = client.consumer("ledger").explicit_commit().build().await?;
    while let Some(batch) = consumer.next_batch().await {
        let batch = batch?;
        let (partition, next_offset) = (batch.partition(), batch.next_offset());
        let bytes: usize = batch.into_iter().map(|record| record.payload().len()).sum();
        // … keep the effect of the batch here, then:
        match consumer.commit_positions([(partition, next_offset)]).await {
            Ok(()) => println!("partition {partition}: {bytes} bytes done up to {next_offset}"),
            // The partition went to another member meanwhile, who gets these events again.
            Err(error) if error.reason() == reason::PARTITION_NOT_HELD => {
                println!("partition {partition} has moved on")
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
