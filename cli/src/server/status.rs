//! `eventflow status`: brokers, versions, leases, Postgres' settings, the slowest groups. Asks the database, so it works when
//! no broker does.

use eventflow_broker::store::{
    migrate,
    status::{self, BrokerStatus, GroupStatus, Inspection, ServerStatus, Setting},
};

use super::{database, status_views as views};
use crate::{failure::Result, output};

/// Groups that are shown.
const GROUPS: i64 = 10;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    database: database::Arguments,
    #[command(flatten)]
    output: output::Arguments,
}

/// Everything that is shown.
pub(super) struct Status {
    pub(super) place: String,
    pub(super) server: ServerStatus,
    pub(super) brokers: Vec<BrokerStatus>,
    pub(super) groups: Vec<GroupStatus>,
    pub(super) settings: Vec<Setting>,
}

pub async fn run(arguments: Arguments) -> Result<()> {
    let url = arguments.database.url()?;
    let inspection = Inspection::open(&url).await?;
    let client = inspection.client();
    migrate::check_version(client).await?;
    inspection.act_as_owner().await?;
    let status = Status {
        place: url.describe(),
        server: status::server(client).await?,
        brokers: status::brokers(client).await?,
        groups: status::slowest_groups(client, GROUPS).await?,
        settings: status::settings(client).await?,
    };
    arguments.output.open().object(&views::object(&status), |paint| views::text(&status, paint))
}
