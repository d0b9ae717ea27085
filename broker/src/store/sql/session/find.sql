select organization_id, user_id, role, now_us, session_expires_us, refresh_expires_us
from eventflow.find_session_v1($1::uuid)
