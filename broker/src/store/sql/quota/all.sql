select organization_id, credential, name, value from eventflow.quotas_v1()
