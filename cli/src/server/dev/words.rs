//! What `dev` says once it serves.

use std::path::PathBuf;

use super::{files::Instance, postgres::Postgres};
use crate::{
    failure::Result,
    output::{Format, Output},
};

pub(super) fn welcome(instance: &Instance, context: &Option<PathBuf>, postgres: &Postgres) -> Result<()> {
    let mut out = Output::new(Format::Table);
    let paint = out.paint();
    let (version, data, log) = postgres.describe();
    let (relocated, set_aside) = postgres.relocation();
    let (grpc, http) = (instance.grpc, instance.http);
    let mut lines = vec![
        paint.strong(format!("EventFlow is ready on {grpc}")),
        format!("  gRPC      {}", instance.url()),
        format!("  probes    http://{http}/readyz, metrics on /metrics"),
        format!("  Postgres  {version}, private, in {} (log {})", data.display(), log.display()),
        format!("  settings  {} (URL, API key, admin, database)", instance.env_file().display()),
    ];
    if let Some(path) = context {
        lines.push(format!("  context   `dev` in {}: commands below find it by themselves", path.display()));
    }
    if let Some(actual) = relocated {
        lines.push(format!(
            "  The user `postgres` cannot enter {}, so the data lies in {}.",
            instance.dir.display(),
            actual.display()
        ));
    }
    if let Some(aside) = set_aside {
        lines.push(format!("  Older data for this directory was set aside: {}", aside.display()));
    }
    lines.push(String::new());
    lines.push(paint.strong("Try, in another terminal:"));
    let tries = [
        "eventflow publish hello 'first event'",
        "eventflow consume hello --from earliest",
        "eventflow stream describe hello",
    ];
    lines.extend(tries.map(|command| format!("  {command}")));
    lines.push(format!("  grpcurl -plaintext {grpc} list"));
    lines.push(String::new());
    lines.push("Ctrl-C stops broker and Postgres; the data stays.".to_owned());
    out.line(lines.join("\n"))
}
