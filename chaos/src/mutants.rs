//! Bugs seeded on purpose, to prove that the checker sees them.
//!
//! Those here are changes to the functions of a run's own database: a piece of a function's text is replaced by another, and a
//! piece that is not found is an error, so that a mutant never silently stops being one. Bugs in the broker or the SDK are
//! patches (`chaos/mutants/*.patch`), built in a worktree of their own by `scripts/chaos-mutants.sh`. The product holds neither.

use tokio_postgres::Client;

use crate::Result;
use crate::nemesis::Kind;

/// Replacement of a piece of a function's text: function, piece, replacement.
type Change = (&'static str, &'static str, &'static str);

/// A seeded bug.
#[derive(Debug, Clone, Copy)]
pub struct Mutant {
    pub name: &'static str,
    pub bug: &'static str,
    changes: &'static [Change],
    /// Statements besides.
    statements: &'static str,
    /// The bug is in the patched broker, which shows it when `CHAOS_MUTANT` names it.
    pub patched: bool,
    /// Settings of the brokers.
    pub settings: &'static [(&'static str, &'static str)],
    /// Faults without which the bug would rarely show.
    pub faults: &'static [Kind],
    /// Who must catch it.
    pub caught_by: &'static [&'static str],
}

impl Mutant {
    /// Seeds what the database holds of the bug.
    pub async fn apply(&self, client: &Client) -> Result<()> {
        for (function, piece, replacement) in self.changes {
            let sql = "select pg_get_functiondef(oid) from pg_proc \
                       where pronamespace = 'eventflow'::regnamespace and proname = $1";
            let text: String = client.query_one(sql, &[function]).await?.get(0);
            if text.matches(piece).count() != 1 {
                return Err(format!("{} does not apply: `{function}` holds `{piece}` not once", self.name).into());
            }
            client.batch_execute(&text.replace(piece, replacement)).await?;
        }
        Ok(client.batch_execute(self.statements).await?)
    }
}

const QUIET: &[Kind] = &[];

/// All bugs.
pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "M2",
        bug: "the append commits without waiting for the flush",
        changes: &[(
            "append_v1",
            "if current_setting('synchronous_commit') in ('off', 'local') then",
            "perform set_config('synchronous_commit', 'off', true); if false then",
        )],
        statements: "",
        patched: false,
        settings: &[],
        faults: &[Kind::PostgresKill, Kind::PostgresImmediate],
        caught_by: &["S19", "S3", "S5b"],
    },
    Mutant {
        name: "M4",
        bug: "the look for earlier runs does not see what was committed while the append waited for its lock",
        changes: &[
            (
                "append_v1",
                "where p.partition_id = v_partition and p.producer_id = r.producer_id",
                "where p.partition_id = v_partition and p.producer_id = r.producer_id and p.appended_at < statement_timestamp()",
            ),
            (
                "append_v1",
                "where p.partition_id = v_partition and p.producer_id = v_run.producer_id",
                "where p.partition_id = v_partition and p.producer_id = v_run.producer_id \
                 and p.appended_at < statement_timestamp()",
            ),
            (
                "append_v1",
                "                        v_appended_at);",
                "                        v_appended_at) on conflict do nothing;",
            ),
            (
                "append_v1",
                "first_sequence, event_count, routing_version, run);",
                "first_sequence, event_count, routing_version, run) on conflict do nothing;",
            ),
        ],
        statements: "",
        patched: false,
        settings: &[],
        faults: &[Kind::LockedHead, Kind::CutAppend],
        caught_by: &["S2"],
    },
    Mutant {
        name: "M5",
        bug: "a commit does not look at session and epoch",
        changes: &[
            (
                "commit_v1",
                "and o.session_id = c.session_id and o.lease_epoch = c.lease_epoch and s.log_epoch = c.log_epoch",
                "",
            ),
            (
                "commit_v1",
                "when o.session_id is distinct from c.session_id or o.organization_id <> c.organization_id",
                "when false",
            ),
            ("commit_v1", "when o.lease_epoch <> c.lease_epoch or s.log_epoch <> c.log_epoch then 'seek_fenced'", ""),
        ],
        statements: "",
        patched: false,
        settings: &[],
        faults: &[Kind::PausePastLease, Kind::DuplicateMember, Kind::Stall],
        caught_by: &["S11", "S8b"],
    },
    Mutant {
        name: "M6",
        bug: "a commit may move progress back",
        changes: &[("commit_v1", "and o.next_offset < t.target", "and o.next_offset <> t.target")],
        statements: "",
        patched: false,
        settings: &[],
        faults: &[Kind::KillBroker],
        caught_by: &["S10", "S8b"],
    },
    Mutant {
        name: "M7",
        bug: "offsets come from a counter beside the log instead of from its end",
        changes: &[(
            "append_v1",
            "v_next := greatest(v_next, v_head.end_offset, p_log_epoch << 40);",
            "v_next := greatest(v_next, v_head.end_offset, p_log_epoch << 40, nextval('eventflow.mutant_offset') * 3);",
        )],
        statements: "create sequence eventflow.mutant_offset; grant usage on sequence eventflow.mutant_offset to public",
        patched: false,
        settings: &[],
        faults: QUIET,
        caught_by: &["S17", "S8a", "S9"],
    },
    Mutant {
        name: "M9",
        bug: "a move to the dead letters that is made again makes another one",
        changes: &[
            ("settle_v1", "where not c.done @> x.event_offset", "where true"),
            ("settle_v1", " and not c.done @> f.event_offset", ""),
            (
                "bury",
                "    on conflict on constraint dead_letter_event_once do update\n    \
                 set attempts = excluded.attempts, reason = excluded.reason, error_class = excluded.error_class, \
                 history = excluded.history,\n        dead_at = clock_timestamp(), redrive_id = excluded.redrive_id\n",
                "",
            ),
        ],
        statements: "alter table eventflow.dead_letter_event drop constraint dead_letter_event_once",
        patched: true,
        settings: &[],
        faults: &[Kind::CutOutcome],
        caught_by: &["S14"],
    },
    Mutant {
        name: "M10",
        bug: "brokers hear of new events by hints only, and hints get lost",
        changes: &[],
        statements: "",
        patched: false,
        settings: &[("delivery.poll_interval_ms", "60000"), ("delivery.hints", "false")],
        faults: &[Kind::SuppressedHints],
        caught_by: &["L1", "L2"],
    },
    Mutant {
        name: "M8",
        bug: "what is done of a claim and the retries of what failed are written in two transactions",
        changes: &[
            (
                "settle_v1",
                "        join group_claim c on c.group_id = p_group and c.organization_id = p_organization and c.partition_id = x.partition_id",
                "        left join group_claim c on c.group_id = p_group and c.organization_id = p_organization \
                 and c.partition_id = x.partition_id",
            ),
            ("settle_v1", "where not c.done @> x.event_offset", "where x.from_offset is not null"),
            ("settle_v1", "else c.group_id is not null end", "else true end"),
        ],
        statements: "",
        patched: true,
        settings: &[],
        faults: &[Kind::KillBroker, Kind::KillAllBrokers],
        caught_by: &["S9"],
    },
    Mutant {
        name: "M13",
        bug: "who comes back under its name keeps the old epoch",
        changes: &[(
            "join_v1",
            "update consumer_offset set session_id = p_session, lease_epoch = lease_epoch + 1",
            "update consumer_offset set session_id = p_session",
        )],
        statements: "",
        patched: false,
        settings: &[],
        faults: &[Kind::DuplicateMember, Kind::Reset],
        caught_by: &["S12"],
    },
    Mutant {
        name: "M17",
        bug: "a takeover starts one batch behind the group's progress",
        changes: &[(
            "hand_over",
            "lease_epoch = o.lease_epoch + 1,",
            "lease_epoch = o.lease_epoch + 1, next_offset = o.next_offset + 5,",
        )],
        statements: "",
        patched: false,
        settings: &[],
        faults: &[Kind::MemberStorm],
        caught_by: &["S8b", "S9", "L1"],
    },
    Mutant {
        name: "M19",
        bug: "retention raises the floor past what it was told",
        changes: &[(
            "raise_floor_v1",
            "select least(p_floor, e.next_offset) into v_floor",
            "select least(p_floor + 2000, e.next_offset) into v_floor",
        )],
        statements: "",
        patched: false,
        settings: &[],
        faults: &[Kind::Purge],
        caught_by: &["S3", "S9", "L1", "S8a"],
    },
    Mutant {
        name: "M20",
        bug: "an idempotency key that its broker believes to be new is not looked for",
        changes: &[
            (
                "append_keyed_v1",
                "select coalesce(bool_or(k.event_offset is distinct from c.known or k.fingerprint <> c.fingerprint), false)",
                "select coalesce(bool_or(k.event_offset <> c.known or k.fingerprint <> c.fingerprint), false) and false",
            ),
            (
                "record_keys_v1",
                "from unnest(p_keys) c where c.known is null;",
                "from unnest(p_keys) c where c.known is null on conflict do nothing;",
            ),
        ],
        statements: "",
        patched: false,
        settings: &[],
        faults: QUIET,
        caught_by: &["S15", "S2"],
    },
    Mutant {
        name: "M21",
        bug: "a key that was revoked is remembered as good for a minute",
        changes: &[],
        statements: "",
        patched: true,
        settings: &[],
        faults: QUIET,
        caught_by: &["S22"],
    },
    Mutant {
        name: "M22",
        bug: "an event that is tried again lets those behind it of its key go",
        changes: &[],
        statements: "",
        patched: true,
        settings: &[],
        faults: QUIET,
        caught_by: &["S23"],
    },
    Mutant {
        name: "M1",
        bug: "an append is acknowledged before its commit",
        changes: &[],
        statements: "",
        patched: true,
        settings: &[],
        faults: &[Kind::KillBroker, Kind::PostgresKill],
        caught_by: &["S3", "S5b", "S1"],
    },
    Mutant {
        name: "M3",
        bug: "events are delivered from memory before their commit",
        changes: &[],
        statements: "",
        patched: true,
        settings: &[],
        faults: &[Kind::PostgresKill, Kind::PostgresImmediate, Kind::KillBroker],
        caught_by: &["S5b", "S1"],
    },
    Mutant {
        name: "M11",
        bug: "the window is not given back when a partition goes away",
        changes: &[],
        statements: "",
        patched: true,
        settings: &[],
        faults: &[Kind::Seek],
        caught_by: &["L1", "L2"],
    },
    Mutant {
        name: "M12",
        bug: "a look-up by name forgets the organization, in the query and in row-level security",
        changes: &[],
        statements: "alter table eventflow.stream disable row level security; \
                     alter table eventflow.stream_partition disable row level security",
        patched: true,
        settings: &[],
        faults: QUIET,
        caught_by: &["S16"],
    },
    Mutant {
        name: "M14",
        bug: "an append whose outcome is unknown is repeated under new numbers",
        changes: &[],
        statements: "",
        patched: true,
        settings: &[],
        faults: &[Kind::CutAppend, Kind::Reset],
        caught_by: &["S2"],
    },
    Mutant {
        name: "M16",
        bug: "a change is answered before its transaction ends, and the connection goes back to the pool in the middle of it",
        changes: &[],
        statements: "",
        patched: true,
        settings: &[],
        faults: &[Kind::Seek, Kind::Purge],
        caught_by: &["S10", "L2", "U1"],
    },
    Mutant {
        name: "M15",
        bug: "a batch that fails its checksum is passed over",
        changes: &[],
        statements: "",
        patched: true,
        settings: &[],
        faults: QUIET,
        caught_by: &["S8a"],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use eventflow_broker::store::migrate::MIGRATIONS;

    #[test]
    fn every_piece_that_a_mutant_replaces_stands_in_its_function_once() {
        for (mutant, (function, piece, _)) in
            MUTANTS.iter().flat_map(|mutant| mutant.changes.iter().map(move |change| (mutant, change)))
        {
            let begins = format!("create function {function}(");
            let text = MIGRATIONS.iter().rev().find_map(|(_, _, text)| text.split_once(&begins)).map(|(_, rest)| rest);
            let body = text.and_then(|text| text.split("\n$$;").next()).unwrap_or_default();
            // The end of the body was cut off with what follows it.
            let count = format!("{body}\n").matches(piece).count();
            assert_eq!(count, 1, "{}: `{function}` and `{piece}`", mutant.name);
        }
    }
}
