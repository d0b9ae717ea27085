select name, setting, coalesce(unit, '') as unit, source
from pg_settings
where name = any ($1)
order by name
