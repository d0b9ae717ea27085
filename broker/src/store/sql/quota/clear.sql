select eventflow.clear_quota_v1($1::text, $2::text, $3::text)
