use super::fixture::{Administration, fact, reason};
use eventflow_proto::v1::{
    PartitionSeek, Position, PurgeStreamRequest, SeekRequest, SeekResponse,
    consumer_group_service_server::ConsumerGroupService, position::At, purge_stream_request::Before,
    stream_service_server::StreamService,
};
use prost_types::Timestamp;
use tonic::Status;

/// Two partitions; the first holds offsets 5 to 19, its second half from second 2,000 on.
async fn group() -> Administration {
    let mut admin = Administration::new().await;
    admin.create_stream("orders", 2).await;
    admin.append("orders", 0, 10, 1_000.0).await;
    admin.append("orders", 0, 10, 2_000.0).await;
    let (name, before) = ("orders".to_owned(), Some(Before::Offset(5)));
    let purge = PurgeStreamRequest { name, partition: Some(0), before, ..Default::default() };
    admin.streams.purge_stream(admin.ask(purge)).await.expect("purged");
    admin.create_group("billing", "orders", At::Earliest(true)).await;
    admin.announced();
    admin
}

async fn seek(
    admin: &Administration,
    partition: Option<u32>,
    at: At,
    validate_only: bool,
) -> Result<SeekResponse, Status> {
    let to = Some(Position { at: Some(at) });
    let request = SeekRequest { name: "billing".to_owned(), partition, to, validate_only, ..Default::default() };
    admin.groups.seek(admin.ask(request)).await.map(tonic::Response::into_inner)
}

fn moved(partition: u32, from: i64, to: i64, replayed: i64) -> PartitionSeek {
    PartitionSeek { partition, previous_offset: from, next_offset: to, replayed_events: replayed, cleared_retries: 0 }
}

#[tokio::test]
async fn a_preview_says_what_would_happen_and_changes_nothing() {
    let mut admin = group().await;
    for _ in 0..2 {
        let preview = seek(&admin, None, At::Latest(true), true).await.expect("a preview");
        assert_eq!(preview.partitions, [moved(0, 5, 20, -15), moved(1, 0, 0, 0)]);
    }
    assert!(admin.announced().is_empty());
}

#[tokio::test]
async fn a_seek_moves_one_partition_or_all_and_fences_its_holders() {
    let mut admin = group().await;
    let time = Timestamp { seconds: 1_500, nanos: 0 };
    let to_time = seek(&admin, Some(0), At::Time(time), false).await.expect("moved");
    assert_eq!(to_time.partitions, [moved(0, 5, 10, -5)]);
    let to_offset = seek(&admin, Some(0), At::Offset(20), false).await.expect("moved");
    assert_eq!(to_offset.partitions, [moved(0, 10, 20, -10)]);
    let back = seek(&admin, None, At::Earliest(true), false).await.expect("moved");
    assert_eq!(back.partitions, [moved(0, 20, 5, 15), moved(1, 0, 0, 0)]);
    assert_eq!(admin.announced().len(), 3);
    let epochs = "select array_agg(lease_epoch order by partition_index) from eventflow.consumer_offset";
    let epochs = admin.superuser.query_one(epochs, &[]).await.expect("epochs");
    assert_eq!(epochs.get::<_, Vec<i64>>(0), [3, 1]);
}

#[tokio::test]
async fn a_seek_out_of_bounds_names_them_and_moves_nothing() {
    let admin = group().await;
    for (offset, expected) in [(4, "OFFSET_BELOW_FLOOR"), (21, "OFFSET_ABOVE_HEAD")] {
        for validate_only in [true, false] {
            let status = seek(&admin, Some(0), At::Offset(offset), validate_only).await.expect_err("outside");
            assert_eq!((fact(&status, "floor"), fact(&status, "head")), ("5".into(), "20".into()));
            assert_eq!(reason::<()>(Err(status)), expected);
        }
    }
    let beyond = seek(&admin, Some(2), At::Earliest(true), false).await.expect_err("no such partition");
    assert_eq!(reason::<()>(Err(beyond)), "PARTITION_OUT_OF_RANGE");
    let preview = seek(&admin, None, At::Earliest(true), true).await.expect("a preview");
    assert_eq!(preview.partitions, [moved(0, 5, 5, 0), moved(1, 0, 0, 0)]);
}
