select current_setting('server_version') as server_version,
       current_setting('server_version_num')::integer as server_version_num,
       s.log_epoch,
       pg_database_size(current_database()) as database_bytes,
       (select max(version) from eventflow.schema_migration) as schema_version,
       (select max(oldest_broker) from eventflow.schema_migration) as oldest_broker,
       (select count(*) from eventflow.organization) as organizations,
       -- A deleted stream keeps its row until its space is reclaimed.
       (select count(*) from eventflow.stream where deleted_at is null) as streams,
       (select count(*) from eventflow.consumer_group) as consumer_groups,
       (select count(*) from eventflow.api_key where revoked_at is null) as api_keys,
       -- Sessions that may hold back vacuum; this one is young.
       coalesce((select extract(epoch from max(clock_timestamp() - xact_start)) from pg_stat_activity
                 where datname = current_database() and pid <> pg_backend_pid()), 0)::double precision
           as oldest_transaction_seconds,
       (select count(*) from pg_stat_activity where backend_type = 'client backend') as connections,
       -- A slot that nobody reads keeps the write-ahead log for ever.
       (select count(*) from pg_replication_slots where not active) as idle_slots
from eventflow.log_state s
