//! `eventflow-chaos`: runs by seed, by number, by time; a proof of the checker; a check of a history that is there.

#![expect(
    clippy::disallowed_methods,
    reason = "the runner passes its environment on, and the patched broker is told by it which bug to show"
)]

mod arguments;
mod campaign;
mod output;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use arguments::{Arguments, Command, Runs};
use clap::Parser;
use eventflow_chaos::check::{Report, Verdict};
use eventflow_chaos::mutants::{MUTANTS, Mutant};
use eventflow_chaos::run::{Order, run, shrink};
use eventflow_chaos::{Result, check, history, nemesis, recovery};
use output::{note, show};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = runtime.map_err(Into::into).and_then(|runtime| {
        runtime.block_on(async {
            tokio::select! {
                outcome = act(arguments) => outcome,
                // What runs is dropped, and ends with this process.
                _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
            }
        })
    });
    match outcome {
        Ok(verdict) => ExitCode::from(code(verdict)),
        Err(failure) => {
            note(&format!("error: {failure}"));
            ExitCode::from(3)
        }
    }
}

/// 0 green, 1 a violation, 2 void; 3 is a run that could not be made.
fn code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Green => 0,
        Verdict::Violation => 1,
        Verdict::Void => 2,
    }
}

async fn act(arguments: Arguments) -> Result<Verdict> {
    match arguments.command {
        Some(Command::Check { history }) => {
            let report = check::check(&history::read(&history)?);
            output::report(&report);
            Ok(report.verdict())
        }
        Some(Command::Recovery { histories }) => {
            let mut figures = recovery::Figures::new();
            for history in histories {
                recovery::measure(&history::read(&history)?, &mut figures);
            }
            show(&recovery::table(&mut figures).join("\n"));
            Ok(Verdict::Green)
        }
        Some(Command::Mutants { list_patched: true, .. }) => {
            MUTANTS.iter().filter(|mutant| mutant.patched).for_each(|mutant| show(mutant.name));
            Ok(Verdict::Green)
        }
        Some(Command::Mutants { name, tries, runs, .. }) => mutants(&name, tries, &runs).await,
        None => several(&arguments.runs).await,
    }
}

/// Runs over one seed or over random ones. A violation counts for all of them; a void run counts for nothing, and all of them are
/// void when none proved anything.
async fn several(arguments: &Runs) -> Result<Verdict> {
    output::scope();
    let began = Instant::now();
    let mut all = Verdict::Void;
    let mut done = 0;
    while arguments.goes_on(done, began.elapsed()) {
        let seed = arguments.seed.unwrap_or_else(rand_seed);
        let (report, order) = one(arguments, seed, None).await?;
        campaign::append(arguments, &report)?;
        let verdict = report.verdict();
        keep(arguments, &order, verdict)?;
        all = match (all, verdict) {
            (Verdict::Violation, _) | (_, Verdict::Violation) => Verdict::Violation,
            (Verdict::Void, Verdict::Void) => Verdict::Void,
            _ => Verdict::Green,
        };
        done += 1;
        if verdict == Verdict::Violation && !arguments.go_on {
            break;
        }
    }
    show(&format!("{done} runs: {all:?}"));
    Ok(all)
}

fn rand_seed() -> u64 {
    // Short enough to be typed.
    u64::from(rand::random::<u32>())
}

async fn one(arguments: &Runs, seed: u64, mutant: Option<Mutant>) -> Result<(Report, Order)> {
    let order = order(arguments, seed, mutant)?;
    note(&format!("seed {seed}: {} s of faults, history in {}", order.seconds, order.history().display()));
    let began = Instant::now();
    let report = run(&order).await?;
    output::report(&report);
    note(&format!("seed {seed}: {:?} after {} s", report.verdict(), began.elapsed().as_secs()));
    Ok((report, order))
}

fn order(arguments: &Runs, seed: u64, mutant: Option<Mutant>) -> Result<Order> {
    let binary = match &arguments.broker {
        Some(binary) => binary.clone(),
        None => std::env::current_exe()?.with_file_name("eventflow"),
    };
    if !binary.is_file() {
        return Err(format!("`{}` is not there: run `cargo build --workspace` first", binary.display()).into());
    }
    let mut faults = match &*arguments.faults {
        [] => nemesis::all(),
        names => nemesis::named(names),
    };
    let mut all = arguments.all;
    if let Some(mutant) = mutant {
        faults = mutant.faults.to_vec();
        all = true;
    }
    let settings = mutant.map_or(&[][..], |mutant| mutant.settings);
    Ok(Order {
        seed,
        seconds: arguments.fault_seconds,
        faults,
        all,
        dir: arguments.dir.join(seed.to_string()),
        binary,
        settings: settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        mutant,
        is_unsafe: arguments.is_unsafe,
        pace: arguments.pace,
        gap: Duration::from_secs_f64(arguments.gap),
    })
}

/// A failing history is kept, with its shortest beginning; a green one goes, unless it is wanted.
fn keep(arguments: &Runs, order: &Order, verdict: Verdict) -> Result<()> {
    match verdict {
        Verdict::Green if !arguments.keep => std::fs::remove_dir_all(&order.dir)?,
        Verdict::Violation => {
            let prefix: Option<PathBuf> = shrink(&order.history())?;
            note(&format!("kept: {}", order.history().display()));
            if let Some(prefix) = prefix {
                note(&format!("its shortest failing beginning: {}", prefix.display()));
            }
        }
        _ => {}
    }
    Ok(())
}

/// Runs each seeded bug until it is caught, and says by whom.
async fn mutants(name: &str, tries: u32, runs: &Runs) -> Result<Verdict> {
    let wanted = |mutant: &&Mutant| if name == "all" { !mutant.patched } else { mutant.name == name };
    let chosen: Vec<&Mutant> = MUTANTS.iter().filter(wanted).collect();
    if chosen.is_empty() {
        return Err(format!("there is no mutant `{name}`").into());
    }
    if chosen.iter().any(|mutant| mutant.patched) && std::env::var("CHAOS_MUTANT").as_deref() != Ok(name) {
        return Err(format!("`CHAOS_MUTANT` must name `{name}`, and `--broker` the patched build").into());
    }
    let mut table = Vec::new();
    let mut all_caught = true;
    for mutant in chosen {
        let mut caught = None;
        for attempt in 1..=tries {
            let (report, order) = one(runs, rand_seed(), Some(*mutant)).await?;
            std::fs::remove_dir_all(&order.dir)?;
            let ids = report.findings.ids();
            if ids.iter().any(|id| mutant.caught_by.contains(id)) {
                caught = Some((ids, attempt));
                break;
            }
        }
        let line = match &caught {
            Some((ids, attempt)) => format!("| {} | {} | {} | {attempt} |", mutant.name, mutant.bug, ids.join(", ")),
            None => format!("| {} | {} | **not caught** | {tries} |", mutant.name, mutant.bug),
        };
        note(&line);
        all_caught &= caught.is_some();
        table.push(line);
    }
    show(&table.join("\n"));
    Ok(if all_caught { Verdict::Green } else { Verdict::Violation })
}
