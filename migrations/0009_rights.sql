-- Who may touch what.

do $$
declare
    v_table text;
begin
    -- Cold tables: forced row-level security, the broker within one organization at a time, the owner's functions everywhere.
    foreach v_table in array array['organization', 'stream', 'stream_partition', 'consumer_group', 'admin_request', 'api_key'] loop
        execute format('alter table %I enable row level security', v_table);
        execute format('alter table %I force row level security', v_table);
        execute format('create policy owner_all on %I to eventflow_owner using (true) with check (true)', v_table);
        execute format('create policy tenant on %I to eventflow_broker using (organization_id = current_organization())'
                       ' with check (organization_id = current_organization())', v_table);
    end loop;
    -- Hot tables: the broker has no rights at all; SQL readers see their organization.
    foreach v_table in array array['event_batch', 'partition_head'] loop
        execute format('alter table %I enable row level security', v_table);
    end loop;
    foreach v_table in array array['organization', 'stream', 'stream_partition', 'event_batch', 'partition_head'] loop
        execute format('create policy reader on %I for select to eventflow_reader'
                       ' using (organization_id = (select reader_organization()))', v_table);
        execute format('grant select on %I to eventflow_reader', v_table);
    end loop;
end
$$;

grant usage on schema eventflow to eventflow_broker, eventflow_reader;
grant select on event to eventflow_reader;
grant select on organization, stream_partition to eventflow_broker;
grant select, insert, update on stream to eventflow_broker;
grant select, insert, update, delete on consumer_group to eventflow_broker;
grant select, insert, update, delete on admin_request to eventflow_broker;

revoke execute on all functions in schema eventflow from public;
grant execute on all functions in schema eventflow to eventflow_broker;
revoke execute on function free_member(bigint, text), hand_over(bigint, bigint[]),
    append_verdicts_v1(partition_head, append_run_v1[], integer) from eventflow_broker;
grant execute on function reader_organization(), payload_json(bytea), publisher_at(text[], integer[], bigint) to eventflow_reader;
