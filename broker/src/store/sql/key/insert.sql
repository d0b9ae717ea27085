-- Inserts when both answers are true. Two racing creators may pass the limit by one.
with checked as (
    select coalesce('epoch'::timestamptz + $8::bigint * interval '1 microsecond' > clock_timestamp(), true) as in_time,
           (select count(*) from eventflow.api_key k
            where k.organization_id = $1 and k.revoked_at is null
              and coalesce(k.expires_at > clock_timestamp(), true)) < $9::bigint as room
), inserted as (
    insert into eventflow.api_key (
        organization_id, key_id, secret_sha256, environment, description, scopes, created_by, expires_at)
    select $1, $2, $3, $4, $5, $6, $7, 'epoch'::timestamptz + $8::bigint * interval '1 microsecond'
    from checked where in_time and room
)
select in_time, room from checked
