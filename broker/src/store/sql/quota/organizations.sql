select organization_id from eventflow.organizations_v1() as organization_id
