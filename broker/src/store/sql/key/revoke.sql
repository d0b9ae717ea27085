update eventflow.api_key k set revoked_at = clock_timestamp()
where k.organization_id = $1 and k.key_id = $2
  and k.revoked_at is null and coalesce(k.expires_at > clock_timestamp(), true)
