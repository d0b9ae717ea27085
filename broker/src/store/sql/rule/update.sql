-- Null leaves a column as it is; the action and what belongs to it go together. No row: there is no such rule.
update eventflow.processing_rule
set description = coalesce($4, description),
    disabled = coalesce($5, disabled),
    filter = coalesce($6, filter),
    action = coalesce($7, action),
    target = coalesce($8, target),
    set_headers = coalesce($9::text::jsonb, set_headers),
    remove_headers = coalesce($10, remove_headers),
    fields = coalesce($11, fields),
    version = version + 1,
    updated_at = clock_timestamp()
where organization_id = $1 and stream_id = $2 and name = $3
returning rule_id
