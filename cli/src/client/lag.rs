//! `eventflow lag`: how far groups are behind, the slowest first.

use eventflow::{GroupInfo, groups::Lag};
use futures_util::TryStreamExt;
use serde_json::json;

use super::{group_named, group_views};
use crate::{
    failure::Result,
    output::{self, Listing, count},
    target,
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only this group
    group: Option<String>,
    #[command(flatten)]
    target: target::Arguments,
    #[command(flatten)]
    output: output::Arguments,
}

pub async fn run(arguments: Arguments) -> Result<()> {
    let client = arguments.target.connect().await?;
    let groups = client.groups();
    let wanted: Vec<GroupInfo> = match &arguments.group {
        None => groups.list().try_collect().await?,
        Some(name) => match groups.get(name).await {
            Ok(group) => vec![group],
            Err(error) => return Err(group_named(&client, name, error).await),
        },
    };
    let mut found: Vec<(GroupInfo, Lag)> = Vec::new();
    for group in wanted {
        match groups.lag(&group.name).await {
            Ok(lag) => found.push((group, lag)),
            // Deleted between the list and the question.
            Err(error) if error.reason() == "CONSUMER_GROUP_NOT_FOUND" => {}
            Err(error) => return Err(error.into()),
        }
    }
    found.sort_by(|one, other| {
        let slowest_first = other.1.seconds.total_cmp(&one.1.seconds);
        slowest_first.then(other.1.events.cmp(&one.1.events))
    });
    arguments.output.open().list(&listing(&found))
}

fn listing(found: &[(GroupInfo, Lag)]) -> Listing {
    let mut listing = Listing::new(&["group", "stream", "#lag", "behind", "#members"])
        .when_empty("no groups yet: `eventflow group create NAME --stream STREAM` makes one");
    for (group, lag) in found {
        let mut object = group_views::lag_object(lag);
        object["group"] = json!(group.name);
        object["stream"] = json!(group.stream);
        object["members"] = json!(group.member_count);
        let row = [
            group.name.clone(),
            group.stream.clone(),
            count(lag.events),
            group_views::behind(lag.seconds),
            group.member_count.to_string(),
        ];
        listing.add(object, row);
    }
    listing
}
