//! Publishes ten events and prints where each one stands.
//!
//! ```sh
//! eventflow dev --data-dir ./data &
//! . ./data/dev.env && export EVENTFLOW_URL EVENTFLOW_API_KEY
//! cargo run -p eventflow --example publish
//! ```
#![expect(clippy::print_stdout, reason = "an example talks to a person")]

use eventflow::{Client, ClientOptions, Event, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::connect_with(ClientOptions::from_env()?).await?;
    let producer = client.producer("orders").build().await?;

    // Sending does not wait for the broker: the events travel together.
    let mut receipts = Vec::new();
    for number in 0..10 {
        let event = Event::new(format!(r#"{{"number": {number}}}"#))
            .with_key(format!("customer-{}", number % 3))
            .with_type("order.placed")
            .with_content_type("application/json");
        receipts.push(producer.send(event).await?);
    }

    // A receipt is there once the event is flushed to disk.
    for (number, receipt) in receipts.into_iter().enumerate() {
        let appended = receipt.await?;
        println!("{number}: orders/{} @ offset {}", appended.partition, appended.offset);
    }
    producer.close().await
}
