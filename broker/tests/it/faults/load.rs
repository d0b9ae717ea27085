//! An application on the Rust client: one producer, one consumer. Neither may see an error, whatever happens to the database.

use eventflow::{Client, ClientOptions, Event, GroupSpec, Position};
use eventflow_broker::runtime::app::App;
use eventflow_testkit::within;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::watch;

/// Events that are sent before their receipts are awaited.
const BURST: usize = 10;

/// A running application.
pub struct Load {
    client: Client,
    acknowledged: watch::Sender<usize>,
}

/// An acknowledged event: its offset and its text.
pub type Acknowledged = (i64, String);

impl Load {
    /// On the stream `orders`, with a group of its own.
    pub async fn new(app: &App, key: &str) -> Self {
        let url = format!("eventflow://{}?tls=off", app.grpc_address());
        let options = ClientOptions::new(&url).expect("a url").api_key(key);
        let client = Client::connect_with(options).await.expect("a client");
        let created = client.groups().create("application", "orders", Position::Earliest, GroupSpec::default()).await;
        created.expect("a group");
        Self { client, acknowledged: watch::Sender::new(0) }
    }

    /// Publishes so many events, `0`, `1`, `2`, …, in bursts, and consumes them all; answers the acknowledgements.
    pub async fn run(&self, events: usize) -> Vec<Acknowledged> {
        let (acknowledged, ()) = tokio::join!(self.publish(events), self.consume(events));
        acknowledged
    }

    /// Returns when so many events are acknowledged.
    pub async fn acknowledged(&self, events: usize) {
        let mut count = self.acknowledged.subscribe();
        within("acknowledgements", count.wait_for(|count| *count >= events)).await.expect("a count");
    }

    async fn publish(&self, events: usize) -> Vec<Acknowledged> {
        let producer = self.client.producer("orders").build().await.expect("a producer");
        let mut acknowledged = Vec::with_capacity(events);
        while acknowledged.len() < events {
            let mut receipts = Vec::with_capacity(BURST);
            for number in acknowledged.len()..acknowledged.len() + BURST {
                let text = number.to_string();
                let receipt = producer.send(Event::new(text.clone()).with_key("one")).await.expect("sent");
                receipts.push((receipt, text));
            }
            for (receipt, text) in receipts {
                let appended = within("a receipt", receipt).await.expect("the application sees no error");
                acknowledged.push((appended.offset, text));
            }
            self.acknowledged.send_replace(acknowledged.len());
        }
        producer.close().await.expect("closed");
        acknowledged
    }

    async fn consume(&self, events: usize) {
        let mut consumer = self.client.consumer("application").build().await.expect("a consumer");
        let mut seen = BTreeSet::new();
        while seen.len() < events {
            let batch = within("a batch", consumer.next_batch()).await.expect("the stream goes on");
            for record in batch.expect("the application sees no error") {
                seen.insert(String::from_utf8_lossy(record.payload()).into_owned());
            }
        }
        // Asking for the next batch says that the last one is done.
        assert!(tokio::time::timeout(Duration::ZERO, consumer.next_batch()).await.is_err(), "nothing is left");
        consumer.close().await.expect("its last commit was made");
    }
}
