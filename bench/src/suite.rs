//! The suite: ceilings first, then every step, on one fresh database a round.

use crate::arguments::SuiteArguments;
use crate::figures::Sample;
use crate::ground::Ground;
use crate::report::{Report, Settings};
use crate::steps::Step;
use crate::{Result, ceilings, machine, output, payloads, steps};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    AppendCeiling,
    TransportCeiling,
    Publish,
    EndToEnd,
    CatchUp,
    FanOut,
    Producers,
    PublishLatency,
    PushLatency,
    Schema,
    Shared,
    RetryStorm,
    Rules,
}

pub async fn run(arguments: &SuiteArguments) -> Result<()> {
    let mut report = None;
    for round in 1..=arguments.repeat {
        let ground = Ground::new(&arguments.place, &[]).await?;
        output::note(&format!(
            "round {round} of {}: Postgres {}, the broker is {}",
            arguments.repeat,
            ground.postgres_version(),
            ground.broker_runs().text()
        ));
        let report = match &mut report {
            Some(report) => report,
            empty => empty.insert(start_report(arguments, &ground).await?),
        };
        let samples = round_of(arguments, &ground).await?;
        report.add(samples);
        ground.tear_down().await?;
    }
    let report = report.ok_or("nothing was measured")?;
    output::show(&report.table());
    let path = report.write(&arguments.results)?;
    output::note(&format!("figures: {}", path.display()));
    Ok(())
}

async fn start_report(arguments: &SuiteArguments, ground: &Ground) -> Result<Report> {
    let settings = Settings {
        seconds: arguments.span().as_secs_f64(),
        warm_up_seconds: arguments.warm_up().as_secs_f64(),
        broker: ground.broker_runs().text().to_owned(),
        ratios: vec![
            ("json_200", payloads::lz4_ratio(ground.sql(), payloads::Kind::Json, 200).await?),
            ("json_1000", payloads::lz4_ratio(ground.sql(), payloads::Kind::Json, 1_000).await?),
            ("incompressible_200", payloads::lz4_ratio(ground.sql(), payloads::Kind::Incompressible, 200).await?),
        ],
    };
    Ok(Report::new(machine::describe(ground.postgres_version()), settings))
}

async fn round_of(arguments: &SuiteArguments, ground: &Ground) -> Result<Vec<Sample>> {
    let step = Step { ground, span: arguments.span(), warm_up: arguments.warm_up() };
    let mut samples = Vec::new();
    let mut written = None;
    if arguments.wants(Part::AppendCeiling) {
        note(&mut samples, ceilings::append::measure(ground, arguments.span() / 2).await?);
    }
    if arguments.wants(Part::TransportCeiling) {
        note(&mut samples, ceilings::transport::measure(arguments.span() / 2).await?);
    }
    if arguments.wants(Part::Publish) {
        let (figures, events) = steps::publish::measure(&step).await?;
        note(&mut samples, figures);
        written = Some(events);
    }
    if arguments.wants(Part::CatchUp) {
        note(&mut samples, steps::catch_up::measure(&step, written).await?);
    }
    if arguments.wants(Part::EndToEnd) {
        note(&mut samples, steps::end_to_end::measure(&step).await?);
    }
    if arguments.wants(Part::FanOut) {
        note(&mut samples, steps::fan_out::measure(&step).await?);
    }
    if arguments.wants(Part::Producers) {
        note(&mut samples, steps::producers::measure(&step).await?);
    }
    if arguments.wants(Part::PublishLatency) {
        note(&mut samples, steps::publish_latency::measure(&step).await?);
    }
    if arguments.wants(Part::PushLatency) {
        note(&mut samples, steps::push_latency::measure(&step).await?);
    }
    if arguments.wants(Part::Schema) {
        note(&mut samples, steps::schema::measure(&step)?);
    }
    if arguments.wants(Part::Shared) {
        note(&mut samples, steps::shared::measure(&step).await?);
    }
    if arguments.wants(Part::RetryStorm) {
        note(&mut samples, steps::retry_storm::measure(&step).await?);
    }
    if arguments.wants(Part::Rules) {
        note(&mut samples, steps::rules::measure(&step).await?);
    }
    Ok(samples)
}

fn note(samples: &mut Vec<Sample>, new: Vec<Sample>) {
    for sample in &new {
        output::note(&format!("  {:<28} {}", sample.name, output::number(sample.value)));
    }
    samples.extend(new);
}
