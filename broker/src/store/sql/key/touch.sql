-- Of all organizations: one broker serves many.
select eventflow.touch_api_keys_v1($1::text[])
