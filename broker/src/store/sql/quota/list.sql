select organization, credential, name, value from eventflow.list_quotas_v1($1::text)
