update eventflow.organization set display_name = coalesce($2, display_name) where organization_id = $1
