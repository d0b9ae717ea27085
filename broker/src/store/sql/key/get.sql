-- Never the hash of the secret: the broker's role cannot read it.
select k.key_id, k.environment, k.description, k.scopes, k.created_by, k.successor,
       (extract(epoch from k.created_at) * 1000000)::bigint as created_at,
       (extract(epoch from k.expires_at) * 1000000)::bigint as expires_at,
       (extract(epoch from k.last_used_at) * 1000000)::bigint as last_used_at,
       (extract(epoch from k.revoked_at) * 1000000)::bigint as revoked_at,
       k.revoked_at is not null or coalesce(k.expires_at <= clock_timestamp(), false) as ended
from eventflow.api_key k where k.organization_id = $1 and k.key_id = $2
