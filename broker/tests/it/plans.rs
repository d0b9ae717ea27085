//! Plans of what brokers ask of the database, whatever its statistics say.

use crate::support::{Clients, Ground, appended, sequenced};
use eventflow_proto::v1;
use eventflow_testkit::within;
use uuid::Uuid;

/// How often tables of the log were read whole, and how often by an index.
async fn scans(client: &tokio_postgres::Client) -> (i64, i64) {
    let sql = "select sum(seq_scan)::bigint, sum(coalesce(idx_scan, 0))::bigint from pg_stat_user_tables
        where schemaname = 'eventflow' and (relname like 'event\\_batch%' or relname in ('producer_run', 'partition_head', 'consumer_offset'))";
    let row = client.query_one(sql, &[]).await.expect("counts");
    (row.get(0), row.get(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_were_analyzed_while_they_were_empty_are_never_read_whole() {
    const CALLS: i64 = 300;
    let ground = Ground::new().await;
    let database = ground.database.connect().await;
    // As autovacuum, or somebody, does on a new database; what is planned then stays planned for as long as its connection.
    database.batch_execute("analyze").await.expect("analyzed");
    let app = ground.broker(&[]).await;
    let mut clients = Clients::new(&app, &ground.key("acme").await).await;
    clients.create_stream("orders", 1).await;
    clients.create_group("billing", "orders").await;
    let (before, by_index) = scans(&database).await;
    let producer = Uuid::new_v4();
    for number in 0..CALLS {
        let request = sequenced("orders", producer, 0, number, &["a"]);
        let answer = clients.publisher.publish(request).await.expect("published").into_inner();
        assert_eq!(appended(&answer.results[0]).base_offset, number);
        let from = Some(v1::Position { at: Some(v1::position::At::Offset(number)) });
        let read = v1::ListEventsRequest { stream: "orders".into(), partition: 0, from, ..Default::default() };
        let page = clients.log.list_events(read).await.expect("a page").into_inner();
        assert_eq!(page.events.len(), 1);
    }
    let counted = async {
        loop {
            // poll: connections tell their counts within seconds
            let (whole, index) = scans(&database).await;
            if whole + index >= before + by_index + 2 * CALLS {
                return whole;
            }
        }
    };
    assert_eq!(within("the counts", counted).await, before);
}
