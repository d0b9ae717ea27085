//! What grows, one thing at a time: its sizes, and the figures that are watched.

use clap::ValueEnum;

/// One thing that grows while everything else stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Axis {
    Producers,
    Partitions,
    Streams,
    Groups,
    Members,
    Idle,
    Payload,
    Brokers,
    Overload,
    Stored,
}

/// A figure that a point gives; figures of one unit share a panel of the chart.
pub struct Figure {
    pub name: &'static str,
    pub what: &'static str,
    pub unit: &'static str,
}

const fn figure(name: &'static str, what: &'static str, unit: &'static str) -> Figure {
    Figure { name, what, unit }
}

/// What a chart and a table say of an axis.
pub struct About {
    pub title: &'static str,
    /// What is counted along it.
    pub of: &'static str,
    pub sizes: &'static [u64],
    pub figures: &'static [Figure],
}

impl Axis {
    /// In the order in which they are measured.
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Producers => "producers",
            Self::Partitions => "partitions",
            Self::Streams => "streams",
            Self::Groups => "groups",
            Self::Members => "members",
            Self::Idle => "idle",
            Self::Payload => "payload",
            Self::Brokers => "brokers",
            Self::Overload => "overload",
            Self::Stored => "stored",
        }
    }

    pub fn about(self) -> &'static About {
        match self {
            Self::Producers => &PRODUCERS,
            Self::Partitions => &PARTITIONS,
            Self::Streams => &STREAMS,
            Self::Groups => &GROUPS,
            Self::Members => &MEMBERS,
            Self::Idle => &IDLE,
            Self::Payload => &PAYLOAD,
            Self::Brokers => &BROKERS,
            Self::Overload => &OVERLOAD,
            Self::Stored => &STORED,
        }
    }
}

const PRODUCERS: About = About {
    title: "Producers, each of which waits for its event before it sends the next",
    of: "producers",
    sizes: &[1, 10, 100, 1_000, 3_000, 10_000],
    figures: &[figure("producers", "published", "events/s")],
};

const PARTITIONS: About = About {
    title: "Partitions of a stream: 10,000 keys, one producer, one consumer",
    of: "partitions",
    sizes: &[1, 4, 16, 64, 256, 1_024],
    figures: &[
        figure("published", "published while followed", "events/s"),
        figure("end_to_end", "published and delivered", "events/s"),
    ],
};

const STREAMS: About = About {
    title: "Streams of 8 partitions, written by 64 writers in calls of 100 events",
    of: "streams",
    sizes: &[1, 10, 100, 1_000, 3_000, 10_000],
    figures: &[figure("published", "published", "events/s"), figure("created", "streams created", "streams/s")],
};

const GROUPS: About = About {
    title: "Groups of one consumer each that follow one producer",
    of: "groups",
    sizes: &[1, 3, 10, 30, 100],
    figures: &[
        figure("fan_out", "delivered, all groups", "events/s"),
        figure("published", "published meanwhile", "events/s"),
    ],
};

const MEMBERS: About = About {
    title: "Members of one group on a stream of 1,024 partitions",
    of: "members",
    sizes: &[1, 10, 100, 300, 1_000],
    figures: &[
        figure("end_to_end", "published and delivered", "events/s"),
        figure("settling", "until all have joined and hold their part", "s"),
    ],
};

const IDLE: About = About {
    title: "Subscribers that nothing is published to, ten to a group",
    of: "subscribers",
    sizes: &[10, 100, 1_000, 3_000, 10_000],
    figures: &[
        figure("memory", "broker memory of each", "KiB"),
        figure("servers", "processor of broker and Postgres", "ms/s"),
        figure("reached", "an event a partition reaches all groups", "s"),
    ],
};

const PAYLOAD: About = About {
    title: "Size of the payload: random bytes, one producer",
    of: "bytes",
    sizes: &[10, 100, 1_000, 10_000, 100_000, 1_000_000],
    figures: &[
        figure("published", "published", "events/s"),
        figure("megabytes", "payload", "MB/s"),
        figure("disk", "disk for each event beyond its payload", "bytes"),
    ],
};

const BROKERS: About = About {
    title: "Brokers on one Postgres: four producers and a group of four, spread over them",
    of: "brokers",
    sizes: &[1, 2, 3, 4],
    figures: &[
        figure("published", "published while followed", "events/s"),
        figure("end_to_end", "published and delivered", "events/s"),
    ],
};

const OVERLOAD: About = About {
    title: "Load beyond what is taken, in calls of 100 events that do not wait for each other",
    of: "times the capacity",
    sizes: &[1, 2, 3, 5],
    figures: &[
        figure("goodput", "taken", "events/s"),
        figure("of_peak", "taken, of the peak before", "%"),
        figure("refused", "calls refused", "%"),
        figure("recovery", "until calls are prompt again", "s"),
    ],
};

const STORED: About = About {
    title: "Events stored in one stream, of 20 B each",
    of: "events",
    sizes: &[1_000_000, 3_000_000, 10_000_000, 30_000_000, 100_000_000],
    figures: &[figure("published", "published", "events/s"), figure("catch_up", "read from the start", "events/s")],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_grow_and_names_lead_back() {
        for axis in Axis::all() {
            assert!(axis.about().sizes.is_sorted_by(|a, b| a < b), "{axis:?}");
            assert_eq!(axis.to_possible_value().map(|value| value.get_name().to_owned()).as_deref(), Some(axis.name()));
        }
    }
}
