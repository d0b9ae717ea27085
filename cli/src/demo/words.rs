//! What the demonstration says to a person.

use super::{
    catalogue::Catalogue,
    play::STREAM,
    quake::Quake,
    stage::Stage,
    tally::{Network, Tally},
};
use crate::{
    failure::Result,
    output::{Listing, Output, count},
};

/// Networks that are shown.
const SHOWN: usize = 10;

/// Where the busiest networks are.
const REGIONS: &[(&str, &str)] = &[
    ("us", "world (USGS)"),
    ("NC", "Northern California"),
    ("CI", "Southern California"),
    ("NN", "Nevada"),
    ("ak", "Alaska"),
    ("pr", "Puerto Rico"),
    ("tul", "Oklahoma"),
    ("AV", "Alaska's volcanoes"),
    ("MB", "Montana"),
    ("UU", "Utah"),
];

pub(super) fn overture(out: &mut Output, catalogue: &Catalogue) -> Result<()> {
    let paint = out.paint();
    let head = format!(
        "{} earthquakes of {} networks, two brokers on one Postgres, one of them killed half-way.",
        count(catalogue.len() as i128),
        catalogue.networks().len()
    );
    out.line(paint.strong(head))
}

/// The group's statistics, the busiest networks first.
pub(super) fn networks(out: &mut Output, tally: &Tally) -> Result<()> {
    let mut networks: Vec<(&String, &Network)> = tally.networks().iter().collect();
    networks.sort_by_key(|(name, network)| (std::cmp::Reverse(network.events), name.as_str()));
    let mut table = Listing::new(&["network", "region", "#earthquakes", "#strongest", "where", "most recent (UTC)"]);
    for (name, network) in networks.iter().take(SHOWN) {
        let region = REGIONS.iter().find(|(known, _)| known == name).map_or("", |(_, region)| region);
        let row = [
            (*name).clone(),
            region.to_owned(),
            count(network.events as i128),
            format!("{:.1}", network.strongest.magnitude),
            network.strongest.place(),
            network.latest.clone(),
        ];
        table.add(serde_json::Value::Null, row);
    }
    let rest = networks.len().saturating_sub(SHOWN);
    let paint = out.paint();
    let mut text = format!("\n{}", table.table(paint));
    if rest > 0 {
        text.push_str(&paint.faint(format!("and {rest} more networks\n")));
    }
    out.line(text.trim_end())
}

pub(super) fn strongest(out: &mut Output, strong: &[Quake]) -> Result<()> {
    let strongest = strong.iter().max_by(|one, other| one.magnitude.total_cmp(&other.magnitude));
    let text = strongest.map_or(String::new(), |quake| {
        format!("\nStrongest of all: magnitude {:.1} at {}, {} UTC\n", quake.magnitude, quake.place(), quake.time)
    });
    out.line(text)
}

pub(super) fn explore(out: &mut Output, stage: &Stage) -> Result<()> {
    let paint = out.paint();
    let tries = [
        format!("eventflow stream --context demo describe {STREAM}"),
        format!("eventflow consume --context demo {STREAM} --tail 5 --exit"),
        format!("eventflow consume --context demo {STREAM} --group mine --create-group --max 3"),
        "eventflow lag --context demo".to_owned(),
        format!("eventflow status --database-url '{}'", stage.database_url()),
    ];
    let mut lines = vec![
        String::new(),
        paint.strong(format!("Both brokers run again: {}", stage.url())),
        "Try, in another terminal:".to_owned(),
    ];
    lines.extend(tries.iter().map(|command| format!("  {command}")));
    lines.push("Ctrl-C ends it and removes everything.".to_owned());
    out.line(lines.join("\n"))
}
