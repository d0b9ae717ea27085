//! Works off the stream `orders` in the shared group `mailer` until Ctrl-C. Run several: they share the events. An order that
//! cannot be handled is tried again after a back-off, and after five attempts it is a dead letter.
//!
//! ```sh
//! cargo run -p eventflow --example worker
//! ```
#![expect(clippy::print_stdout, reason = "an example talks to a person")]

use std::sync::Arc;

use eventflow::{
    Client, ClientOptions, DeliveryMode, ErrorKind, Failure, GroupSpec, Job, Position, Result, RetryPolicy,
};

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::connect_with(ClientOptions::from_env()?.application("example")).await?;
    let spec = GroupSpec::default()
        .mode(DeliveryMode::Shared)
        .retry(RetryPolicy { max_attempts: 5, ..RetryPolicy::default() });
    match client.groups().create("mailer", "orders", Position::Earliest, spec).await {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }

    let worker = client.worker("mailer").build().await?;
    println!("{} waits for orders; Ctrl-C ends it", worker.member_name());
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    // Sixteen at a time. What has begun is finished before the worker leaves.
    worker.run(16, stop, handle).await
}

async fn handle(job: Arc<Job>) -> Result<(), Failure> {
    let text = std::str::from_utf8(job.payload())?;
    if text.is_empty() {
        // Trying again is of no use: a dead letter at once.
        return Err(Failure::give_up("an order without content").class("empty"));
    }
    println!("{}@{} attempt {}: {text}", job.partition(), job.offset(), job.attempt());
    Ok(())
}
