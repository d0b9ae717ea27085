select method, fingerprint, response from eventflow.admin_request where organization_id = $1 and request_id = $2
