select user_id, password_hash from eventflow.find_sign_in_v1($1::text, $2::text)
