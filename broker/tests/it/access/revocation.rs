//! A key that is revoked while its streams are open: they end, at every broker, and nothing of it goes on.

use crate::support::member::Member;
use crate::support::{Clients, Ground, event, reason, turn};
use eventflow_broker::identity::ApiKey;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_loses_its_open_streams_at_every_broker() {
    let _turn = turn().await;
    let ground = Ground::new().await;
    let (here, there) = (ground.broker(&[]).await, ground.broker(&[]).await);
    let (doomed, other) = (ground.key("acme").await, ground.key("acme").await);
    let mut clients = Clients::new(&here, &doomed).await;
    clients.create_stream("orders", 1).await;
    clients.create_group("billing", "orders").await;
    let mut ends = Vec::new();
    let mut publishes = Vec::new();
    let mut members = Vec::new();
    let mut others = Vec::new();
    for app in [&here, &there] {
        let mut clients = Clients::new(app, &doomed).await;
        let mut member = Member::join(&clients, "billing", &format!("m{}", members.len())).await.expect("joined");
        // Opens the Commit stream.
        member.release(Vec::new()).await;
        let reading = read(&clients).await;
        let (send, requests) = mpsc::channel(4);
        let mut answers =
            clients.publisher.publish_stream(ReceiverStream::new(requests)).await.expect("a stream").into_inner();
        send.send(publish_request("before")).await.expect("room");
        within("an answer", answers.message()).await.expect("published");
        others.push(read(&Clients::new(app, &other).await).await);
        ends.push((reading, answers));
        publishes.push(send);
        members.push(member);
    }
    let revoked = Instant::now();
    end(&ground, &doomed, "revoked_at").await;
    for (reading, answers) in ends {
        for status in [ending(reading).await, ending(answers).await] {
            assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "UNAUTHENTICATED"));
        }
    }
    for mut member in members {
        let commits = within("the commit stream's end", async {
            loop {
                if let Err(status) = member.answer().await {
                    return status;
                }
            }
        });
        assert_eq!(commits.await.code(), Code::Unauthenticated);
        assert_eq!(ending(member.frames).await.code(), Code::Unauthenticated);
    }
    // bound: 5 s
    assert!(revoked.elapsed() < BOUND, "{:?}", revoked.elapsed());
    // What the client still sends goes nowhere.
    for send in publishes {
        let _ = send.send(publish_request("after")).await;
    }
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
    for mut reading in others {
        within("the other key's streams", async {
            loop {
                let frame = reading.message().await.expect("it goes on").expect("it goes on").frame;
                if matches!(frame, Some(Frame::Batch(batch)) if batch.head.base_offset == 2) {
                    break;
                }
            }
        })
        .await;
    }
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
