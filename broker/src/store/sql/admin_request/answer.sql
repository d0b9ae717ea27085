update eventflow.admin_request set response = $3 where organization_id = $1 and request_id = $2
