//! What is printed: verdicts to standard output, progress to standard error.

use eventflow_chaos::check::{OUT_OF_SCOPE, Report, name};

/// A line of the result.
#[expect(clippy::print_stdout, reason = "the one place that prints results")]
pub fn show(text: &str) {
    println!("{text}");
}

/// What is going on, and what went wrong.
#[expect(clippy::print_stderr, reason = "the one place that prints progress")]
pub fn note(text: &str) {
    eprintln!("{text}");
}

/// What no run checks yet, by name.
pub fn scope() {
    for (id, what, until) in OUT_OF_SCOPE {
        note(&format!("not checked: {id}, {what}: {until}"));
    }
}

/// A run's verdict with its grounds.
pub fn report(report: &Report) {
    let totals = &report.totals;
    show(&format!(
        "seed {}: {:?}; {} acknowledged, {} refused, {} unknown, {} resolved; {} delivered, {} again; {} commits, {} fenced; \
         lag at most {} ms in calm; {} flushes compared; {} failed, {} tried again, {} dead letters; keys: {} repeated, {} refused",
        report.setup.seed,
        report.verdict(),
        totals.acknowledged,
        totals.refused,
        totals.unknown,
        totals.resolved,
        totals.delivered,
        totals.redelivered,
        totals.commits,
        totals.fenced,
        totals.lag_ms,
        totals.flushes,
        totals.nacks,
        totals.retried,
        totals.dead_letters,
        totals.keys_repeated,
        totals.keys_refused
    ));
    let faults: Vec<String> = totals.faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    show(&format!("  {} faults: {}", totals.fault_count(), faults.join(", ")));
    for (kind, why) in &totals.skipped {
        show(&format!("  not injected, {kind}: {why}"));
    }
    if totals.lost + totals.vanished > 0 {
        show(&format!("  lost, where that is allowed: {} acknowledged, {} read", totals.lost, totals.vanished));
    }
    for (id, finding) in report.findings.iter() {
        show(&format!("  VIOLATION {id} ({}): {} times", name(id), finding.count));
        for example in &finding.examples {
            show(&format!("    {example}"));
        }
    }
    for why in &report.void {
        show(&format!("  void: {why}"));
    }
}
