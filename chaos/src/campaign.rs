//! The campaign's table: a line for each run, appended as it ends, so that a campaign can stop and go on at any time.

use std::fs::File;
use std::io::Write;

use eventflow_chaos::Result;
use eventflow_chaos::check::{Report, Verdict};

use crate::arguments::Runs;

const HEAD: &str = "seed,fault_seconds,acknowledged,delivered,redelivered,resolved,fenced,fault_count,violations,verdict,commit,faults";

/// Appends a run, when there is a table to append to.
pub fn append(arguments: &Runs, report: &Report) -> Result<()> {
    let Some(path) = &arguments.campaign else { return Ok(()) };
    let is_new = !path.exists();
    let mut file = File::options().create(true).append(true).open(path)?;
    if is_new {
        writeln!(file, "{HEAD}")?;
    }
    let totals = &report.totals;
    let faults: Vec<String> = totals.faults.iter().map(|(kind, count)| format!("{kind}: {count}")).collect();
    let verdict = match report.verdict() {
        Verdict::Green => "green",
        Verdict::Violation => "violation",
        Verdict::Void => "void",
    };
    writeln!(
        file,
        "{},{},{},{},{},{},{},{},{},{verdict},{},{}",
        report.setup.seed,
        arguments.fault_seconds,
        totals.acknowledged,
        totals.delivered,
        totals.redelivered,
        totals.resolved,
        totals.fenced,
        totals.fault_count(),
        report.findings.total(),
        arguments.commit,
        faults.join("; ")
    )?;
    Ok(())
}
