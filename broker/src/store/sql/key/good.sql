-- Of all organizations: the streams of a broker belong to many.
select eventflow.good_api_keys_v1($1::text[])
