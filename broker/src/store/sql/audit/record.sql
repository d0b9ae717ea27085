insert into eventflow.audit_event (organization_id, actor, action, object, detail, result, address, request_id)
values ($1, $2, $3, $4, $5, 'done', $6, $7)
