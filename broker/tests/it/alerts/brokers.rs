//! Several brokers, and brokers that die or stand still: each change is told, once where nothing goes wrong.

use super::{LOOSE, alert, create, spine, telling, try_get, until, until_evaluated_again, until_state};
use crate::support::process::BrokerProcess;
use crate::support::{Clients, Ground};
use crate::transport::wire::exchange;
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1::{AlertDeliveryResult, AlertMeasure, AlertState};
use eventflow_testkit::{Reply, WebhookReceiver, within};
use std::collections::BTreeSet;

/// Ends the leases of all brokers that are at a notification, as time would.
async fn end_leases(ground: &Ground) {
    let sql = "update eventflow.alert_delivery set claimed_until = clock_timestamp() where claimed_until is not null";
    assert_eq!(ground.database.connect().await.execute(sql, &[]).await.expect("ended"), 1);
}

async fn behind(ground: &Ground) -> (App, Clients) {
    let app = ground.broker(&LOOSE).await;
    let mut clients = Clients::new(&app, &ground.key("acme").await).await;
    clients.create_stream("orders", 1).await;
    clients.create_group("billing", "orders").await;
    clients.publish("orders", 0, &["a"]).await;
    (app, clients)
}

#[tokio::test(flavor = "multi_thread")]
async fn three_brokers_tell_of_a_change_once() {
    let (ground, _one, mut clients) = spine().await;
    let (_two, _three) = (ground.broker(&LOOSE).await, ground.broker(&LOOSE).await);
    let receiver = WebhookReceiver::start([]).await;
    clients.publish("orders", 0, &["a"]).await;
    for number in 0..12 {
        create(&mut clients, telling(&format!("a{number}"), &receiver.url())).await;
    }
    receiver.post(12).await;
    // Those that are due first come first: all of them have been evaluated again when one has twice.
    until_evaluated_again(&mut clients, "a0").await;
    until_evaluated_again(&mut clients, "a0").await;
    for number in 0..12 {
        let name = format!("a{number}");
        let delivered = until(&mut clients, &name, |alert| alert.last_delivery.is_some()).await;
        assert_eq!(delivered.last_delivery.expect("a delivery").attempts, 1);
    }
    let posts = receiver.posts();
    let ids: BTreeSet<&str> = posts.iter().map(|post| post.headers["eventflow-id"].as_str()).collect();
    assert_eq!((posts.len(), ids.len()), (12, 12));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_while_it_tells_is_followed_by_another_under_the_same_id() {
    let ground = Ground::new().await;
    let (app, _) = behind(&ground).await;
    let receiver = WebhookReceiver::start([Reply::Hang]).await;
    let key = ground.key("acme").await;
    app.stop().await;
    let mut doomed = BrokerProcess::start(&ground.database.url(), &LOOSE).await;
    let mut there = Clients::at(&doomed.url(), &key).await;
    create(&mut there, telling("behind", &receiver.url())).await;
    receiver.post(1).await;
    doomed.kill().await;
    let next = ground.broker(&LOOSE).await;
    let mut clients = Clients::new(&next, &key).await;
    until_evaluated_again(&mut clients, "behind").await;
    assert_eq!(receiver.posts().len(), 1, "it is the dead broker's until the lease ends");
    end_leases(&ground).await;
    let again = receiver.post(2).await;
    assert_eq!(again.body, receiver.posts()[0].body);
    assert_eq!(again.headers["eventflow-id"], receiver.posts()[0].headers["eventflow-id"]);
    let told = until(&mut clients, "behind", |alert| alert.last_delivery.is_some()).await;
    let told = told.last_delivery.expect("a delivery");
    assert_eq!((told.result(), told.attempts), (AlertDeliveryResult::Delivered, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_while_it_evaluates_leaves_a_change_and_its_notification_or_neither() {
    let ground = Ground::new().await;
    let (app, mut clients) = behind(&ground).await;
    let receiver = WebhookReceiver::start([]).await;
    let key = ground.key("acme").await;
    create(&mut clients, alert("behind", AlertMeasure::DeadLettersPerHour, 0)).await;
    app.stop().await;
    let mut locked = ground.database.connect().await;
    let lock = locked.transaction().await.expect("a transaction");
    lock.batch_execute("lock table eventflow.alert_delivery in share mode").await.expect("locked");
    let change = format!(
        "update eventflow.alert set measure = 'lag_events', webhook_url = '{}', due_at = clock_timestamp()",
        receiver.url()
    );
    ground.database.connect().await.batch_execute(&change).await.expect("changed");
    let mut doomed = BrokerProcess::start(&ground.database.url(), &LOOSE).await;
    let watch = ground.database.connect().await;
    let waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
            and query like '%evaluate_alerts_v1%'";
    within("an evaluation that waits", async {
        // poll
        while watch.query_one(waits, &[]).await.expect("a count").get::<_, i64>(0) == 0 {}
    })
    .await;
    doomed.kill().await;
    let state = "select state from eventflow.alert";
    assert_eq!(watch.query_one(state, &[]).await.expect("a row").get::<_, String>(0), "ok", "nothing of it is there");
    lock.rollback().await.expect("unlocked");
    let next = ground.broker(&LOOSE).await;
    let mut clients = Clients::new(&next, &key).await;
    receiver.post(1).await;
    until_state(&mut clients, "behind", AlertState::Firing).await;
    until_evaluated_again(&mut clients, "behind").await;
    assert_eq!(receiver.posts().len(), 1, "told once");
    let sequence = "select sequence from eventflow.alert";
    assert_eq!(watch.query_one(sequence, &[]).await.expect("a row").get::<_, i64>(0), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_late_report_of_a_broker_that_stood_still_counts_for_nothing() {
    let ground = Ground::new().await;
    let (app, _) = behind(&ground).await;
    let receiver = WebhookReceiver::start([Reply::Hang, Reply::Hang]).await;
    let key = ground.key("acme").await;
    app.stop().await;
    let paused = BrokerProcess::start(&ground.database.url(), &LOOSE).await;
    create(&mut Clients::at(&paused.url(), &key).await, telling("behind", &receiver.url())).await;
    receiver.post(1).await;
    paused.pause();
    let next = ground.broker(&LOOSE).await;
    let mut clients = Clients::new(&next, &key).await;
    end_leases(&ground).await;
    receiver.post(2).await;
    // Both wait for an answer now, and the one that stood still gives up first.
    paused.resume();
    within("the late report", async {
        // poll
        while !paused.metrics_text().await.contains("\neventflow_webhook_posts_total{result=\"failed\"} 1\n") {}
    })
    .await;
    let told = until(&mut clients, "behind", |alert| alert.last_delivery.is_some()).await;
    let told = told.last_delivery.expect("a delivery");
    assert_eq!((told.result(), told.attempts), (AlertDeliveryResult::Retrying, 2), "{told:?}");
    assert_eq!(told.error, "no answer within 10 s");
    receiver.post(3).await;
    let delivered = until(&mut clients, "behind", |alert| {
        alert.last_delivery.as_ref().is_some_and(|delivery| delivery.result() == AlertDeliveryResult::Delivered)
    });
    assert_eq!(delivered.await.last_delivery.expect("a delivery").attempts, 3);
    let ids: BTreeSet<String> = receiver.posts().into_iter().map(|post| post.headers["eventflow-id"].clone()).collect();
    assert_eq!(ids.len(), 1, "it is one notification");
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_with_alerts_that_fire_are_in_the_metrics_of_every_broker() {
    let (ground, one, mut clients) = spine().await;
    let two = ground.broker(&LOOSE).await;
    clients.publish("orders", 0, &["a"]).await;
    for (name, threshold) in [("low", 0), ("middle", 0), ("high", 9)] {
        create(&mut clients, alert(name, AlertMeasure::LagEvents, threshold)).await;
    }
    let line = "eventflow_firing_alerts{organization=\"acme\",stream=\"orders\",group=\"billing\"} 2\n";
    let until_shown = async |app: &App, shown: bool| {
        let look = async {
            let mut ticks = tokio::time::interval(std::time::Duration::from_millis(50));
            loop {
                // poll
                ticks.tick().await;
                let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
                let page = String::from_utf8(exchange(app.http_address(), request).await).expect("utf-8");
                if page.contains(line) == shown {
                    return page;
                }
            }
        };
        within("the metrics", look).await
    };
    for app in [&one, &two] {
        let page = until_shown(app, true).await;
        for name in ["eventflow_alert_evaluations_total", "eventflow_alert_changes_total{change=\"firing\"}"] {
            assert!(page.contains(name), "{name} is missing");
        }
    }
    let request =
        eventflow_proto::v1::DeleteConsumerGroupRequest { name: "billing".into(), force: true, ..Default::default() };
    clients.groups.delete_consumer_group(request).await.expect("removed");
    for app in [&one, &two] {
        until_shown(app, false).await;
    }
    assert!(try_get(&mut clients, "low").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_with_much_to_count_keeps_nobody_elses_alerts_waiting() {
    let ground = Ground::new().await;
    let (app, mut clients) = behind(&ground).await;
    let mut other = Clients::new(&app, &ground.key("other").await).await;
    other.create_stream("orders", 1).await;
    other.create_group("billing", "orders").await;
    for number in 0..30 {
        let group = format!("g{number}");
        clients.create_group(&group, "orders").await;
        let of_group = eventflow_proto::v1::Alert { group, ..alert("behind", AlertMeasure::LagEvents, 0) };
        create(&mut clients, of_group).await;
    }
    create(&mut other, alert("behind", AlertMeasure::LagEvents, 0)).await;
    app.stop().await;
    let sql = ground.database.connect().await;
    // All are long due, the other organization's last; a call has time for one group.
    let long_due = "update eventflow.alert a set evaluated_at = clock_timestamp() - interval '1 minute',
            due_at = clock_timestamp() - case when o.name = 'other' then interval '1 s' else interval '1 hour' end
        from eventflow.organization o where o.organization_id = a.organization_id";
    sql.batch_execute(long_due).await.expect("due");
    let once = async || {
        sql.execute("select * from eventflow.evaluate_alerts_v1(20, 0, 5000, 20)", &[]).await.expect("evaluated");
        let count = "select count(*) filter (where o.name = 'acme'), count(*) filter (where o.name = 'other')
            from eventflow.alert a join eventflow.organization o using (organization_id)
            where a.due_at > clock_timestamp()";
        let row = sql.query_one(count, &[]).await.expect("counts");
        (row.get::<_, i64>(0), row.get::<_, i64>(1))
    };
    let (first, second) = (once().await, once().await);
    assert!(first.0 + first.1 == 1 && second == (1, 1), "{first:?} {second:?}");
}
