//! What to do next, by reason. A hint is a command or a field, never a platitude.

/// For errors that a broker, or the way to it, gave the client.
pub(super) fn of_client(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "CONNECTION_REFUSED" | "CONNECTION_TIMED_OUT" => {
            "start a broker with `eventflow dev`, or name another with --url or --context"
        }
        "HOST_NOT_FOUND" => "check the host in --url or EVENTFLOW_URL",
        "SERVER_SPEAKS_PLAINTEXT" => "add `?tls=off` to the URL",
        "SERVER_SPEAKS_TLS" => "add `?tls=on` to the URL",
        "CERTIFICATE_NOT_TRUSTED" => "set SSL_CERT_FILE to the file with the authority's certificate",
        "CERTIFICATE_FOR_ANOTHER_HOST" => "put a name that the certificate holds into the URL",
        "NOT_A_BROKER" => "the URL names the gRPC port, 50051 unless configured otherwise",
        "UNAUTHENTICATED" => {
            "sign in with `eventflow login`, set EVENTFLOW_API_KEY, use --api-key-file, or choose a context"
        }
        "LOGIN_FAILED" => "check organization, address and password; an admin resets it with `eventflow user reset`",
        "SESSION_ENDED" => "sign in again with `eventflow login`",
        "INVITATION_INVALID" => "ask an admin for another one: `eventflow user reset`",
        "USER_NOT_FOUND" | "USER_EXISTS" => "see `eventflow user list`",
        "LAST_ADMIN" => "make another user an admin first: `eventflow user update ADDRESS --role admin`",
        "PERMISSION_DENIED" => "use a key with that scope; `eventflow key list` shows what keys may do",
        "API_KEY_NOT_FOUND" => "see `eventflow key list --all`",
        "API_KEY_ENDED" => "make a new key with `eventflow key create`",
        "TOO_MANY_API_KEYS" => "see `eventflow key list`, and end with `eventflow key revoke` what nobody uses",
        "STREAM_NOT_FOUND" => "see `eventflow stream list`, or make it with `eventflow stream create`",
        "STREAM_EXISTS" => "see `eventflow stream describe`, or choose another name",
        "STREAM_HAS_GROUPS" => "delete its groups first, or add --force to delete them with it",
        "CONSUMER_GROUP_NOT_FOUND" => "see `eventflow group list`, or make it with `eventflow group create`",
        "CONSUMER_GROUP_HAS_MEMBERS" => "stop its members first, or add --force",
        "CONSUMER_GROUP_MANAGED" => "it goes with the last rule of its stream: `eventflow rule list`",
        "RULE_NOT_FOUND" | "RULE_EXISTS" | "TOO_MANY_RULES" => "see `eventflow rule list STREAM`",
        "ALERT_NOT_FOUND" | "ALERT_EXISTS" | "TOO_MANY_ALERTS" => "see `eventflow alert list`",
        "ALERT_HAS_NO_WEBHOOK" => "give it one with `eventflow alert update GROUP NAME --webhook URL`",
        "OFFSET_BELOW_FLOOR" | "OFFSET_ABOVE_HEAD" => {
            "see floor and head of each partition with `eventflow stream describe`"
        }
        "PARTITION_OUT_OF_RANGE" => "see the partitions with `eventflow stream describe`",
        "EVENT_TOO_LARGE" => "see `eventflow limits`; a stream's own limit is `--max-event-bytes`",
        "MEMBER_FENCED" => "another consumer joined under the same member name; give each its own",
        "UNIMPLEMENTED" => "the broker is older than this command; upgrade it",
        "DATABASE_UNAVAILABLE" => "ask whoever runs the broker: `eventflow status` names the fault",
        _ => return None,
    })
}

/// For errors of the libraries that `serve`, `migrate` and `admin` call in this process.
pub(super) fn of_broker(reason: &str, message: &str, chain: &str) -> Option<&'static str> {
    let schema_is_named = message.contains("eventflow migrate") || message.contains("upgrade it");
    Some(match reason {
        "DATABASE_UNAVAILABLE" if schema_is_named => return None,
        // Roles belong to the whole server: on a new one the first migration makes them.
        "DATABASE_UNAVAILABLE" if chain.contains("role \"eventflow_broker\" does not exist") => {
            "nothing was ever migrated on this server: run `eventflow migrate`"
        }
        "DATABASE_UNAVAILABLE" if chain.contains("password") => {
            "check user and password in EVENTFLOW_DATABASE_URL (or --database-url)"
        }
        "DATABASE_UNAVAILABLE" if chain.contains("does not exist") => {
            "create what is missing, or correct EVENTFLOW_DATABASE_URL (or --database-url)"
        }
        "DATABASE_UNAVAILABLE" => {
            "check that Postgres runs there and that EVENTFLOW_DATABASE_URL (or --database-url) names it"
        }
        "UNSAFE_DURABILITY" => {
            "repair the settings, or serve anyway with --allow-unsafe-durability: acknowledged events may then be lost"
        }
        _ => return None,
    })
}
