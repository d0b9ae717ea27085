//! A key that is revoked while its streams are open: they end, at every broker, and nothing of it goes on.

use crate::support::member::Member;
use crate::support::{Clients, Ground, event, reason, turn};
use eventflow_broker::identity::ApiKey;
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1::{self, read_response::Frame};
use eventflow_testkit::within;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

/// What is promised of a revocation.
const BOUND: Duration = Duration::from_secs(5);

async fn end(ground: &Ground, key: &str, column: &str) {
    let id = ApiKey::parse(key).expect("a key").id();
    let sql = format!("update eventflow.api_key set {column} = clock_timestamp() where key_id = '{id}'");
    assert_eq!(ground.database.connect().await.execute(&sql, &[]).await.expect("updated"), 1);
}

/// How a stream of answers ends.
async fn ending<T>(mut answers: Streaming<T>) -> Status {
    within("the end of a stream", async {
        loop {
            match answers.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended without an error"),
                Err(status) => return status,
            }
        }
    })
    .await
}

fn publish_request(text: &str) -> v1::PublishStreamRequest {
    let publish = v1::PublishRequest { stream: "orders".into(), events: vec![event(text)], ..Default::default() };
    v1::PublishStreamRequest { publish: Some(publish) }
}

async fn read(clients: &Clients) -> Streaming<v1::ReadResponse> {
    let request = v1::ReadRequest { stream: "orders".into(), follow: true, ..Default::default() };
    clients.log.clone().read(request).await.expect("a stream").into_inner()
}

/// Every kind of stream that a key can have open.
struct Streams {
    member: Member,
    reading: Streaming<v1::ReadResponse>,
    publish: mpsc::Sender<v1::PublishStreamRequest>,
    published: Streaming<v1::PublishStreamResponse>,
}

impl Streams {
    async fn open(app: &App, key: &str, member: &str) -> Self {
        let mut clients = Clients::new(app, key).await;
        let mut member = Member::join(&clients, "billing", member).await.expect("joined");
        // Opens the Commit stream.
        member.release(Vec::new()).await;
        let reading = read(&clients).await;
        let (publish, requests) = mpsc::channel(4);
        let mut published =
            clients.publisher.publish_stream(ReceiverStream::new(requests)).await.expect("a stream").into_inner();
        publish.send(publish_request("before")).await.expect("room");
        within("an answer", published.message()).await.expect("published");
        Self { member, reading, publish, published }
    }

    /// Waits until all of them have ended as they should.
    async fn ended(mut self) {
        let commits = within("the commit stream's end", async {
            loop {
                if let Err(status) = self.member.answer().await {
                    return status;
                }
            }
        });
        let commits = commits.await;
        let all = [commits, ending(self.member.frames).await, ending(self.reading).await, ending(self.published).await];
        for status in all {
            assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "UNAUTHENTICATED"));
        }
        // What the client still sends goes nowhere.
        let _ = self.publish.send(publish_request("after")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_loses_its_open_streams_at_every_broker() {
    let _turn = turn().await;
    let ground = Ground::new().await;
    let (here, there) = (ground.broker(&[]).await, ground.broker(&[]).await);
    let (doomed, other) = (ground.key("acme").await, ground.key("acme").await);
    let mut clients = Clients::new(&here, &doomed).await;
    clients.create_stream("orders", 1).await;
    clients.create_group("billing", "orders").await;
    let streams = [Streams::open(&here, &doomed, "one").await, Streams::open(&there, &doomed, "two").await];
    let mut spared = read(&Clients::new(&there, &other).await).await;
    let revoked = Instant::now();
    end(&ground, &doomed, "revoked_at").await;
    for streams in streams {
        streams.ended().await;
    }
    // bound: 5 s
    assert!(revoked.elapsed() < BOUND, "{:?}", revoked.elapsed());
    let mut free = Clients::new(&there, &other).await;
    within("partitions that are free", async {
        // poll: the sessions tell the database that they have left.
        loop {
            let members = v1::ListMembersRequest { name: "billing".into() };
            if free.groups.list_members(members).await.expect("members").into_inner().members.is_empty() {
                break;
            }
        }
    })
    .await;
    assert_eq!(free.publish("orders", 0, &["the last"]).await, 2, "nothing was appended since the revocation");
    within("the other key's stream", async {
        loop {
            let frame = spared.message().await.expect("it goes on").expect("it goes on").frame;
            if matches!(frame, Some(Frame::Batch(batch)) if batch.head.base_offset == 2) {
                break;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_stream_ends_too_and_so_does_that_of_a_key_that_expires() {
    let _turn = turn().await;
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let doomed = ground.key("acme").await;
    let mut busy = Clients::new(&app, &ground.key("acme").await).await;
    busy.create_stream("orders", 1).await;
    let reading = read(&Clients::new(&app, &doomed).await).await;
    let expired = Instant::now();
    end(&ground, &doomed, "expires_at").await;
    let publishing = async {
        loop {
            busy.publish("orders", 0, &["x"; 100]).await;
        }
    };
    let status = tokio::select! { status = ending(reading) => status, () = publishing => unreachable!() };
    assert_eq!(status.code(), Code::Unauthenticated);
    // bound: 5 s
    assert!(expired.elapsed() < BOUND, "{:?}", expired.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_although_it_was_known_a_moment_before() {
    let _turn = turn().await;
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    clients.streams.get_limits(v1::GetLimitsRequest {}).await.expect("known");
    let revoked = Instant::now();
    end(&ground, &key, "revoked_at").await;
    // poll
    let refused = loop {
        if let Err(status) = clients.streams.get_limits(v1::GetLimitsRequest {}).await {
            break status;
        }
    };
    assert_eq!(refused.code(), Code::Unauthenticated);
    // bound: 5 s, and the call's own time
    assert!(revoked.elapsed() < BOUND + Duration::from_secs(1), "{:?}", revoked.elapsed());
}
