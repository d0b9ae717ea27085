//! The invariants by name. `chaos/README.md` shows the same table, and a run prints what it did not check.

/// Checked on every history.
pub const CHECKED: &[(&str, &str)] = &[
    ("S1", "an offset has one value, for everybody and for ever"),
    ("S2", "no duplicate: what is sent once, or repeated under its number, stands in the log once"),
    ("S3", "nothing acknowledged is lost"),
    ("S4", "no phantom and no damage: what is read was sent, to there, and byte for byte"),
    ("S5a", "what was refused is not in the log"),
    ("S5b", "what was read does not vanish"),
    ("S6", "real-time order: a publish acknowledged before another began stands before it"),
    ("S7", "a producer's events stand in the order of its sends"),
    ("S8a", "within a lease or a read, offsets come in order and without a hole"),
    ("S8b", "a lease starts where the group stands: nothing committed comes again, nothing is passed over"),
    ("S9", "no silent progress: what lies below a group's progress was delivered to it"),
    ("S10", "progress never goes back, but for a seek"),
    ("S11", "no zombie commit: an epoch that is over commits nothing"),
    ("S12", "an epoch of a partition has one owner, and who was fenced is not fed on"),
    ("S13", "nothing is delivered twice within a lease; without faults nothing is delivered twice at all"),
    ("S14", "each event of a shared group: attempts count up exactly, and it ends acknowledged or as one dead letter"),
    ("S15", "an idempotency key has one event, whoever repeats it, and what says something else is refused"),
    ("S16", "no event, name or answer crosses organizations"),
    ("S17", "the log tiles from floor to head, and counts what it holds"),
    ("S18", "append times never decrease in a partition"),
    ("S19", "no acknowledgement precedes the flush of its commit"),
    ("S20", "who reads after an acknowledgement reads that event, through any broker"),
    ("S21", "a request's events for a partition are appended whole or not at all"),
    ("S22", "a key that was revoked opens nothing any more"),
    (
        "S23",
        "of a key whose order a group keeps, an event comes when all before it are settled, and never without them",
    ),
    ("U1", "an SDK user sees no error; a refusal is one that the protocol explains"),
    ("L1", "after healing, everything appended is delivered to every group, and settled in shared ones"),
    ("L2", "after healing, delivery follows publishing"),
    ("L3", "after healing, no publish waits for long"),
    ("L4", "what hung at healing is decided soon after"),
    ("L5", "after healing, every call is answered"),
    ("L6", "with one broker gone for good, all of that holds for everybody else (in a part of the runs)"),
];

/// Named, and not checked until the thing exists that they speak of.
pub const OUT_OF_SCOPE: &[(&str, &str, &str)] =
    &[("S22", "roles and sessions of people that end", "until the workload has people")];

/// The name of a checked invariant.
pub fn name(id: &str) -> &'static str {
    CHECKED.iter().find(|(known, _)| *known == id).map_or("", |(_, name)| name)
}
