//! The lag of groups in `/metrics`.

use crate::support::member::Member;
use crate::support::{Clients, Ground};
use crate::transport::wire::exchange;
use eventflow_broker::runtime::app::App;
use eventflow_testkit::within;

/// Until the page has the line, or has it no more.
async fn until(app: &App, present: bool, line: &str) {
    let look = async {
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(50));
        loop {
            // poll
            ticks.tick().await;
            let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            let page = String::from_utf8(exchange(app.http_address(), request).await).expect("utf-8");
            if page.contains(line) == present {
                return page;
            }
        }
    };
    within(line, look).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_shows_its_lag_as_long_as_it_has_members_here() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let mut clients = Clients::new(&app, &ground.key("acme").await).await;
    clients.create_stream("orders", 2).await;
    clients.create_group("billing", "orders").await;
    clients.create_group("idle", "orders").await;
    clients.publish("orders", 0, &["a", "b"]).await;
    clients.publish("orders", 1, &["c"]).await;
    let mut member = Member::join(&clients, "billing", "one").await.expect("joined");
    member.texts(3).await;
    let labels = "{organization=\"acme\",stream=\"orders\",group=\"billing\"}";
    until(&app, true, &format!("eventflow_group_lag_events{labels} 3\n")).await;
    until(&app, false, &format!("eventflow_group_lag_seconds{labels} 0.000\n")).await;
    until(&app, false, "group=\"idle\"").await;
    member.commit(0, 2).await;
    until(&app, true, &format!("eventflow_group_lag_events{labels} 1\n")).await;
    member.commit(1, 1).await;
    until(&app, true, &format!("eventflow_group_lag_seconds{labels} 0.000\n")).await;
    member.leave().await;
    until(&app, false, "group=\"billing\"").await;
}
