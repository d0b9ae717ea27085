-- Behind what is there, as the append would: stream, partition, events, seconds since 1970.
insert into eventflow.event_batch (
    partition_id, base_offset, event_count, size_bytes, events_before, bytes_before, organization_id, appended_at, crc, payloads,
    run_producers, run_epochs, run_first_sequences, run_counts
)
select p.partition_id, e.next_offset, $3::integer, 10 * $3::integer, e.events, e.bytes, p.organization_id, to_timestamp($4::float8), 0,
       '{}', '{}', '{}', '{}', '{}'
from eventflow.stream s
join eventflow.stream_partition p using (stream_id)
cross join lateral eventflow.partition_end(p.partition_id) e
where s.name = $1 and s.deleted_at is null and p.partition_index = $2::integer
