select member_name, broker, client, client_address, partition_indexes, connected,
       (extract(epoch from joined_at) * 1000000)::bigint as joined_at
from eventflow.members_v1($1, $2)
