//! What it takes of a publish to know who calls, what they may, and how much: ratios of what one run measures in turns.
//!
//! Two things are compared, and no switch in the broker is needed for either. At the door: what is done for each call is done in
//! a loop here, by the broker's own code against the same database, and set against the processor time that the broker spends
//! on a publish call as a whole. In the database: `append_v1` beside a copy without the comparisons of organizations and
//! without SECURITY DEFINER, which the bench makes in its scratch database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eventflow::StreamSpec;
use eventflow_broker::domain::audit::Origin;
use eventflow_broker::domain::ids::StreamName;
use eventflow_broker::domain::quota::{Quota, Quotas};
use eventflow_broker::identity::{Authenticator, KeySource, Publish, authorize};
use eventflow_broker::limits::{Limits, Rules, Who};
use eventflow_proto::v1::publisher_service_client::PublisherServiceClient;
use eventflow_proto::v1::{self, event::Payload};
use tokio::task::JoinSet;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, Endpoint};

use crate::arguments::SafetyArguments;
use crate::ceilings::append::{Appender, targets};
use crate::figures::median;
use crate::ground::{Ground, of_this_process};
use crate::payloads::{Kind, Pool};
use crate::{Result, output};

const STREAM: &str = "safety";
const ROUNDS: usize = 5;
/// Calls at the same time, over one connection.
const CALLERS: usize = 32;
/// Appends of one kind before the other kind's turn.
const TURN: usize = 20;
/// What the design allows.
const BAR_PERCENT: f64 = 3.0;

pub async fn run(arguments: &SafetyArguments) -> Result<()> {
    let span = Duration::from_secs(arguments.seconds);
    // Limits that are looked at and never reached.
    let most = i64::MAX.to_string();
    let settings = [
        ("limits.organization_requests_per_second", most.as_str()),
        ("limits.credential_requests_per_second", most.as_str()),
        ("limits.organization_events_per_second", most.as_str()),
        ("limits.organization_bytes_per_second", most.as_str()),
    ];
    let ground = Ground::new(&arguments.place, &settings).await?;
    door(&ground, span).await?;
    database(&ground, span).await?;
    ground.tear_down().await
}

async fn door(ground: &Ground, span: Duration) -> Result<()> {
    ground.stream(STREAM, StreamSpec::default()).await?;
    let check = Check::new(ground)?;
    let calls = Calls::new(ground).await?;
    calls.during(Duration::from_secs(1)).await?;
    let (mut of_broker, mut of_servers) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let checked = check.during(span / 2).await?;
        let before = ground.usage().await?;
        let made = calls.during(span).await? as f64;
        let spent = ground.usage().await?.since(&before);
        let (broker, postgres) = (spent.broker_seconds / made * 1e6, spent.postgres_seconds / made * 1e6);
        of_broker.push(checked / broker * 100.0);
        of_servers.push(checked / (broker + postgres) * 100.0);
        output::show(&format!(
            "round {round}  checks {checked:.2} µs a call  broker {broker:.1} µs, Postgres {postgres:.1} µs of CPU a call: {:.2} %, {:.2} %",
            checked / broker * 100.0,
            checked / (broker + postgres) * 100.0
        ));
    }
    let met = if median(&of_servers) <= BAR_PERCENT { "met" } else { "NOT met" };
    output::show(&format!(
        "authenticate, authorize and limits: {:.2} % of a single publish call of the servers (bar {BAR_PERCENT} %: {met}), {:.2} % of the broker's part",
        median(&of_servers),
        median(&of_broker)
    ));
    Ok(())
}

/// What the broker does for every call, by its own code.
struct Check {
    authenticator: Authenticator,
    limits: Limits,
    headers: MetadataMap,
    origin: Origin,
    stream: StreamName,
}

impl Check {
    fn new(ground: &Ground) -> Result<Self> {
        let (mut organization, mut credential) = (Quotas::default(), Quotas::default());
        organization.set(Quota::RequestsPerSecond, Some(i64::MAX as u64));
        organization.set(Quota::EventsPerSecond, Some(i64::MAX as u64));
        organization.set(Quota::BytesPerSecond, Some(i64::MAX as u64));
        credential.set(Quota::RequestsPerSecond, Some(i64::MAX as u64));
        let mut headers = MetadataMap::new();
        headers.insert("authorization", format!("Bearer {}", ground.api_key()).parse()?);
        let text = |text: &str| Arc::<str>::from(text);
        Ok(Self {
            authenticator: Authenticator::new(KeySource::Postgres(ground.store()?)),
            limits: Limits::new(Rules::new(organization, credential)),
            headers,
            origin: Origin {
                request_id: text("bench"),
                method: text("eventflow.v1.PublisherService/Publish"),
                address: text("127.0.0.1"),
            },
            stream: StreamName::parse("stream", STREAM)?,
        })
    }

    /// Microseconds of processor time a call.
    async fn during(&self, span: Duration) -> Result<f64> {
        let headers = self.headers.clone().into_headers();
        let (start, before, mut calls) = (Instant::now(), of_this_process()?, 0u32);
        while start.elapsed() < span {
            for _ in 0..1_000 {
                let caller = self.authenticator.authenticate(&headers, &self.origin).await?;
                let who = Who { organization: caller.organization(), credential: caller.publisher() };
                self.limits.call(&who)?;
                authorize(&caller, Publish)?.check(&self.stream)?;
                let who = Who { organization: caller.organization(), credential: caller.publisher() };
                self.limits.publish(&who, 1, 200)?;
            }
            calls += 1_000;
        }
        Ok((of_this_process()? - before) * 1e6 / f64::from(calls))
    }
}

/// Single publish calls of one event, as many at once as a service would make.
struct Calls {
    channel: Channel,
    bearer: AsciiMetadataValue,
    pool: Pool,
}

impl Calls {
    async fn new(ground: &Ground) -> Result<Self> {
        let channel = Endpoint::from_shared(ground.url())?.connect().await?;
        let bearer = format!("Bearer {}", ground.api_key()).parse()?;
        Ok(Self { channel, bearer, pool: Pool::new(Kind::Json, 200) })
    }

    /// How many calls were made.
    async fn during(&self, span: Duration) -> Result<u64> {
        let mut callers = JoinSet::new();
        let end = Instant::now() + span;
        for _ in 0..CALLERS {
            let (mut client, bearer) = (PublisherServiceClient::new(self.channel.clone()), self.bearer.clone());
            let mut pool = self.pool.clone();
            callers.spawn(async move {
                let mut made = 0;
                while Instant::now() < end {
                    let event = v1::Event { payload: Some(Payload::Data(pool.next())), ..Default::default() };
                    let publish =
                        v1::PublishRequest { stream: STREAM.to_owned(), events: vec![event], ..Default::default() };
                    let mut request = tonic::Request::new(publish);
                    request.metadata_mut().insert("authorization", bearer.clone());
                    client.publish(request).await?;
                    made += 1;
                }
                Ok::<u64, tonic::Status>(made)
            });
        }
        let mut made = 0;
        while let Some(ended) = callers.join_next().await {
            made += ended??;
        }
        Ok(made)
    }
}

/// How the broker calls it.
const APPEND: &str = include_str!("../../broker/src/store/sql/log/append.sql");

/// The comparisons of organizations in `append_v1`, and what stands in their place without them.
const COMPARISONS: [(&str, &str); 2] = [
    (" or v_head.organization_id <> v_run.organization_id", ""),
    ("p_runs[v_last].organization_id <> v_run.organization_id", "false"),
];
/// How it changes from the broker's rights to the owner's.
const DEFINER: [(&str, &str); 2] = [(" SECURITY DEFINER", ""), (" SET search_path TO 'eventflow', 'pg_temp'", "")];

/// `append_v1`, or a copy of it.
struct Variant {
    what: &'static str,
    function: &'static str,
    without: &'static [&'static [(&'static str, &'static str)]],
}

/// The second says what is only noise: it differs from the first by its name. The last is what the others are held against.
const VARIANTS: [Variant; 4] = [
    Variant { what: "`append_v1`", function: "append_v1", without: &[] },
    Variant { what: "a copy of it", function: "append_copy", without: &[] },
    Variant { what: "a copy without comparisons", function: "append_uncompared", without: &[&COMPARISONS] },
    Variant { what: "a copy without any of it", function: "append_bare", without: &[&COMPARISONS, &DEFINER] },
];

async fn database(ground: &Ground, span: Duration) -> Result<()> {
    const STREAM: &str = "safety-append";
    ground.stream(STREAM, StreamSpec::default().partitions(VARIANTS.len() as u32)).await?;
    let targets = targets(ground, STREAM).await?;
    let mut appenders = Vec::new();
    for (variant, target) in VARIANTS.iter().zip(targets) {
        make(ground, variant).await?;
        let connection = ground.connect_as_broker().await?;
        if variant.without.len() > 1 {
            // Nobody's rows are hidden from the superuser, and nothing is checked for it.
            connection.client().batch_execute("reset role; set search_path = eventflow, pg_temp").await?;
        }
        let statement = connection.client().prepare(&APPEND.replacen("append_v1", variant.function, 1)).await?;
        appenders.push(Appender::new(connection, statement, target, 1, 200));
    }
    let (start, mut times) = (Instant::now(), vec![Vec::new(); VARIANTS.len()]);
    // The first turn warms up.
    for turn in 0.. {
        if start.elapsed() > span * 6 {
            break;
        }
        // Who goes first changes, so that what one leaves behind touches all.
        for place in 0..VARIANTS.len() {
            let which = (place + turn) % VARIANTS.len();
            let time = turn_of(&mut appenders[which]).await?;
            if turn > 0 {
                times[which].push(time);
            }
        }
    }
    let bare = &times[VARIANTS.len() - 1];
    for (variant, times) in VARIANTS.iter().zip(&times) {
        let ratios: Vec<f64> = times.iter().zip(bare).map(|(time, bare)| time / bare).collect();
        output::show(&format!(
            "one event through {}: {:.1} µs, {:+.2} % (medians of {} turns of {TURN})",
            variant.what,
            median(times),
            (median(&ratios) - 1.0) * 100.0,
            ratios.len()
        ));
    }
    Ok(())
}

/// Makes the copy, with the owner and the rights of what it is a copy of.
async fn make(ground: &Ground, variant: &Variant) -> Result<()> {
    let Variant { function, without, .. } = variant;
    if *function == "append_v1" {
        return Ok(());
    }
    let sql = "select pg_get_functiondef('eventflow.append_v1'::regproc)";
    let mut copy: String = ground.sql().query_one(sql, &[]).await?.get(0);
    for (piece, instead) in without.iter().copied().flatten() {
        if !copy.contains(piece) {
            return Err(format!("`append_v1` no longer has `{piece}`: this measurement compares nothing").into());
        }
        copy = copy.replace(piece, instead);
    }
    // The body names its types without their schema.
    let copy = copy.replacen("append_v1(", &format!("{function}("), 1);
    ground.sql().batch_execute(&format!("set search_path = eventflow, pg_temp; {copy}; reset search_path")).await?;
    let sql = "select $1::text::regproc::regprocedure::text";
    let signature: String = ground.sql().query_one(sql, &[&format!("eventflow.{function}")]).await?.get(0);
    let rights = format!(
        "alter function {signature} owner to eventflow_owner; grant execute on function {signature} to eventflow_broker"
    );
    ground.sql().batch_execute(&rights).await?;
    Ok(())
}

/// Microseconds a call.
async fn turn_of(appender: &mut Appender) -> Result<f64> {
    let start = Instant::now();
    for _ in 0..TURN {
        appender.call().await?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / TURN as f64)
}
