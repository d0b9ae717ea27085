-- The row is the lock: whoever sends the same id at the same time waits here until the first has committed or given up. No
-- row: the id was used before. The response follows in the same transaction.
insert into eventflow.admin_request (organization_id, request_id, method, fingerprint, response)
values ($1, $2, $3, $4, '')
on conflict (organization_id, request_id) do nothing
returning request_id
