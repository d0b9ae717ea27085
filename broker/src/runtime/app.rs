//! The broker as a whole: its parts made in the order in which they depend on each other, and taken down in the reverse.

use crate::alerts::{self, Alerts};
use crate::catalogue::{Catalogue, Changed};
use crate::config::{self, Config};
use crate::delivery::commits::Committer;
use crate::delivery::feeder::Feeder;
use crate::delivery::hints::Hints;
use crate::delivery::polling::Polls;
use crate::delivery::pool::Pools;
use crate::delivery::reads::Reads;
use crate::delivery::registry::Registry;
use crate::delivery::sweeper::Sweeper;
use crate::delivery::{Deliveries, Settings};
use crate::domain::{Error, Reason, Result};
use crate::groups::lease::{BrokerIdentity, Lease};
use crate::groups::{Groups, Trust};
use crate::grpc::accept;
use crate::grpc::layers::{Browsers, CallLimits, Door, Secure};
use crate::grpc::tls::{self, Tls};
use crate::grpc::{
    Administration, Identity, alerts as alert_calls, api_keys, audit, auth, consume, consumer_groups, dead_letters,
    health, log, organizations, publish, routes, rules, schemas, streams, users,
};
use crate::identity::{ApiKeys, AuditLog, Authenticator, KeySource, Organizations, Registration, Sessions, Users};
use crate::jobs::{self, Job};
use crate::limits::{Limits, Rules};
use crate::mail::Mail;
use crate::publish::Publisher;
use crate::publish::gate::DurabilityGate;
use crate::publish::lane::{LaneParts, lane};
use crate::redis::Redis;
use crate::rules::{Rules as Processing, Runner};
use crate::runtime::shutdown::{Farewell, Outcome, Phase, Signals, in_order};
use crate::runtime::{Condition, Kind, Readiness, Tasks};
use crate::schemas::Schemas;
use crate::store::epoch::LogEpochs;
use crate::store::{DatabaseUrl, Store, durability, migrate, shared_secrets};
use crate::tail::Tail;
use crate::telemetry::{alerts::AlertBoard, lag::LagBoard};
use futures_util::future::join_all;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// The version that brokers and members are told.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Changes of groups by administrative calls, on their way to the coordinator; what does not fit is found by polling.
const CHANGES: usize = 256;
/// Between looks at whether something has drained.
const DRAIN_LOOK: Duration = Duration::from_millis(10);
const PRUNE_INTERVAL: Duration = Duration::from_secs(30);
const AUDIT_INTERVAL: Duration = Duration::from_secs(600);

/// A running broker.
pub struct App {
    config: Config,
    tasks: Tasks,
    readiness: Readiness,
    farewell: Farewell,
    store: Store,
    publisher: Publisher,
    groups: Groups,
    grpc_address: SocketAddr,
    http_address: SocketAddr,
}

/// What the parts share before there are services.
struct Ground {
    config: Config,
    /// `host:port` at which others reach the broker.
    address: String,
    tasks: Tasks,
    readiness: Readiness,
    farewell: Farewell,
    store: Store,
    epochs: LogEpochs,
    gate: DurabilityGate,
    tail: Tail,
    groups: Groups,
    catalogue: Catalogue,
    limits: Limits,
    schemas: Schemas,
    rules: Processing,
    alerts: Alerts,
    trust: Trust,
    lags: LagBoard,
    firing: AlertBoard,
}

impl App {
    /// Opens the database and both ports, and returns when calls are served. Whatever is wrong is a sentence for whoever starts it.
    pub async fn start(config: Config) -> Result<Self> {
        let tls = config.server.tls.clone().map(tls::open).transpose()?;
        let redis = config.redis.as_ref().map(Redis::new).transpose()?;
        let grpc = accept::bind(config.server.listen)?;
        let http = accept::bind(config.http.listen)?;
        let (grpc_address, http_address) = (address(&grpc)?, address(&http)?);
        // Boxed, so that the future of whoever starts a broker does not hold all of this at once.
        let ground = Box::pin(Ground::prepare(config, grpc_address)).await?;
        let publisher = ground.publisher().await;
        let deliveries = ground.deliveries();
        ground.background();
        if let Some(redis) = redis {
            ground.share_rates(redis).await?;
        }
        ground.run_rules(&publisher, &deliveries);
        ground.run_alerts();
        let tls = tls.map(|(tls, reloader)| {
            ground.tasks.spawn(Kind::Job, reloader.run(ground.tasks.stopping()));
            tls
        });
        ground.serve((grpc, tls), http, publisher.clone(), deliveries).await?;
        ground.readiness.clear(Condition::Starting);
        tracing::info!(grpc = %grpc_address, http = %http_address, database = %ground.store.describe(), "serving");
        let Ground { config, tasks, readiness, farewell, store, groups, .. } = ground;
        Ok(Self { config, tasks, readiness, farewell, store, publisher, groups, grpc_address, http_address })
    }

    /// Where calls are served.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// Where probes and metrics are served.
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Serves until SIGINT or SIGTERM, then stops in order; a second signal, or a part that the broker cannot do without ending
    /// early, stops it at once.
    pub async fn run_until_signal(self, mut signals: Signals) -> Result<Option<Outcome>> {
        let failed = tokio::select! {
            name = signals.next() => { tracing::info!(signal = name, "stopping"); None }
            failure = self.tasks.failed() => Some(failure),
        };
        let outcome = signals.unless_repeated(self.stop()).await;
        match failed {
            Some(failure) => Err(Error::new(Reason::Internal, format!("the broker cannot go on: {failure}"))),
            None => Ok(outcome),
        }
    }

    /// Stops in order, within the grace.
    pub async fn stop(self) -> Outcome {
        let grace = self.config.shutdown.grace;
        let Self { tasks, readiness, farewell, publisher, groups, store, .. } = self;
        readiness.raise(Condition::Draining, "the broker is shutting down");
        tasks.expect_ends();
        let refusing = farewell.refusing.clone();
        let go_away = farewell.go_away.clone();
        let phases = vec![
            Phase::new("refuse new calls", grace, async move { refusing.cancel() }),
            Phase::new("go-away to sessions", grace.mul_f64(0.5), async move {
                go_away.cancel();
                while groups.session_count() > 0 {
                    tokio::time::sleep(DRAIN_LOOK).await;
                }
            }),
            Phase::new("drain lanes", grace.mul_f64(0.5), async move {
                while publisher.in_flight_bytes() > 0 {
                    tokio::time::sleep(DRAIN_LOOK).await;
                }
            }),
            Phase::new("close connections", grace, {
                let closing = farewell.closing.clone();
                async move { closing.cancel() }
            }),
            Phase::new("stop tasks", grace, {
                let tasks = tasks.clone();
                async move {
                    tasks.stop();
                    tasks.wait().await;
                }
            }),
        ];
        let outcome = in_order(phases, grace).await;
        tasks.kill();
        store.close();
        outcome
    }
}

impl Ground {
    async fn prepare(config: Config, grpc_address: SocketAddr) -> Result<Self> {
        let tasks = Tasks::new();
        let url = DatabaseUrl::parse(&config.database.url)?;
        let store = Store::new(url, config.database.pool_size, config.database.connect_timeout)?;
        let epochs = check_database(&store, &config).await?;
        let address = match config.server.advertise.as_str() {
            "" => grpc_address.to_string(),
            advertised if advertised.ends_with(":0") => grpc_address.to_string(),
            advertised => advertised.to_owned(),
        };
        let name = config.broker.name.clone();
        let identity =
            BrokerIdentity { name, address: address.clone(), version: VERSION, ttl: config.groups.lease_ttl };
        let (lease, trust) = Lease::start(store.clone(), identity).await?;
        tasks.spawn(Kind::Lease, lease.run(tasks.stopping()));
        let groups = Groups::new(store.clone());
        let (sender, mut changes) = mpsc::channel(CHANGES);
        let quotas = &config.limits;
        let limits = Limits::new(Rules::new(quotas.organization.clone(), quotas.credential.clone()));
        let catalogue = Catalogue::new(store.clone(), Changed::new(sender), quotas.organization.clone());
        let told = groups.clone();
        tasks.spawn(Kind::Job, async move {
            while let Some(group) = changes.recv().await {
                told.changed(group);
            }
            Ok(())
        });
        Ok(Self {
            tail: Tail::new(config.delivery.tail_cache_bytes),
            address,
            tasks,
            readiness: Readiness::starting(),
            farewell: Farewell::default(),
            epochs,
            gate: DurabilityGate::default(),
            groups,
            schemas: Schemas::new(store.clone(), catalogue.clone()),
            rules: Processing::new(store.clone(), catalogue.clone()),
            alerts: Alerts::new(store.clone(), allowed(config.alerts))?,
            catalogue,
            limits,
            store,
            trust,
            lags: LagBoard::default(),
            firing: AlertBoard::default(),
            config,
        })
    }

    /// Rates hold for all brokers of this database together.
    async fn share_rates(&self, redis: Redis) -> Result<()> {
        let secret = shared_secrets::get(&**self.store.conn().await?, "redis-namespace").await?;
        let namespace: String = secret.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let sharing = self.limits.share_through(redis, &namespace);
        self.tasks.spawn(Kind::Job, sharing.run(self.tasks.stopping()));
        Ok(())
    }

    async fn publisher(&self) -> Publisher {
        let parts = LaneParts { store: self.store.clone(), epochs: self.epochs.clone(), tail: self.tail.clone() };
        let mut lanes = Vec::with_capacity(self.config.database.lanes);
        for (handle, run) in join_all((0..self.config.database.lanes).map(|index| lane(index, parts.clone()))).await {
            self.tasks.spawn(Kind::Lane, run);
            lanes.push(handle);
        }
        let settings = &self.config.publish;
        Publisher::new(
            self.catalogue.clone(),
            self.schemas.clone(),
            lanes,
            settings.in_flight_bytes,
            self.gate.clone(),
            self.limits.clone(),
            settings.create_missing_streams,
        )
    }

    fn deliveries(&self) -> Deliveries {
        let (commits, committer) =
            Committer::new(self.store.clone(), self.epochs.clone(), self.config.groups.commit_interval);
        self.tasks.spawn(Kind::Commits, committer.run());
        let settings = Settings {
            broker_name: self.config.broker.name.clone(),
            heartbeat: self.config.delivery.heartbeat,
            silence_limit: self.config.delivery.silence_limit,
            member_grace: self.config.groups.member_grace,
            go_away_grace: self.config.shutdown.grace.mul_f64(0.5),
        };
        Deliveries {
            store: self.store.clone(),
            catalogue: self.catalogue.clone(),
            tail: self.tail.clone(),
            groups: self.groups.clone(),
            trust: self.trust.clone(),
            commits,
            registry: Registry::default(),
            pools: Pools::default(),
            polls: Polls::default(),
            tasks: self.tasks.clone(),
            settings,
            draining: self.farewell.go_away.clone(),
        }
    }

    /// What runs beside the calls.
    fn background(&self) {
        let (tasks, stop) = (&self.tasks, self.tasks.stopping());
        let poll = self.config.delivery.poll_interval;
        tasks.spawn(Kind::Wake, Feeder::new(self.store.clone(), self.tail.clone()).run(poll, stop.clone()));
        tasks.spawn(Kind::Wake, self.groups.clone().run(poll, stop.clone()));
        if self.config.delivery.hints {
            let hints = Hints {
                store: self.store.clone(),
                tail: self.tail.clone(),
                groups: self.groups.clone(),
                sender: uuid::Uuid::new_v4(),
            };
            tasks.spawn(Kind::Wake, hints.run(stop.clone()));
        }
        let sweeper = Sweeper {
            store: self.store.clone(),
            groups: self.groups.clone(),
            ttl: self.config.groups.lease_ttl,
            interval: self.config.groups.sweep_interval,
        };
        tasks.spawn(Kind::Lease, sweeper.run(stop.clone()));
        let watch = jobs::watch::Watch {
            store: self.store.clone(),
            epochs: self.epochs.clone(),
            gate: self.gate.clone(),
            readiness: self.readiness.clone(),
            allow_unsafe: self.config.database.allow_unsafe_durability,
        };
        tasks.spawn(Kind::Watch, watch.run(stop.clone()));
        let retention = self.config.jobs.retention_interval;
        tasks.spawn(Kind::Job, jobs::run(Job::Retention, self.store.clone(), retention, stop.clone()));
        tasks.spawn(Kind::Job, jobs::run(Job::Ring, self.store.clone(), jobs::ring::INTERVAL, stop.clone()));
        tasks.spawn(Kind::Job, jobs::run(Job::Prune, self.store.clone(), PRUNE_INTERVAL, stop.clone()));
        let audit = Job::Audit(self.config.jobs.audit_retention);
        tasks.spawn(Kind::Job, jobs::run(audit, self.store.clone(), AUDIT_INTERVAL, stop.clone()));
        let lag = jobs::lag::Lag::new(self.store.clone(), self.groups.clone(), self.lags.clone());
        tasks.spawn(Kind::Job, lag.run(stop.clone()));
        let quotas = jobs::quotas::QuotaLoader {
            store: self.store.clone(),
            limits: self.limits.clone(),
            organization: self.config.limits.organization.clone(),
            credential: self.config.limits.credential.clone(),
        };
        tasks.spawn(Kind::Job, quotas.run(stop.clone()));
        let (tail, mut epochs) = (self.tail.clone(), self.epochs.subscribe());
        tasks.spawn(Kind::Job, async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    // The log has another life: what is cached belongs to the old one.
                    changed = epochs.changed() => match changed {
                        Ok(()) => tail.clear(),
                        Err(_) => return Ok(()),
                    },
                }
            }
        });
    }

    /// The members of the groups that run rules.
    fn run_rules(&self, publisher: &Publisher, deliveries: &Deliveries) {
        let runner = Runner {
            rules: self.rules.clone(),
            deliveries: deliveries.clone(),
            publisher: publisher.clone(),
            tasks: self.tasks.clone(),
        };
        self.tasks.spawn(Kind::Job, runner.run(self.tasks.stopping()));
    }

    /// Evaluates alerts, and tells webhooks.
    fn run_alerts(&self) {
        let evaluator = alerts::Evaluator { alerts: self.alerts.clone(), board: self.firing.clone() };
        self.tasks.spawn(Kind::Job, evaluator.run(self.tasks.stopping()));
        let poster = alerts::Poster { alerts: self.alerts.clone() };
        self.tasks.spawn(Kind::Job, poster.run(self.tasks.stopping()));
    }

    /// The doors.
    async fn serve(
        &self,
        (grpc, tls): (TcpListener, Option<Tls>),
        http: TcpListener,
        publisher: Publisher,
        deliveries: Deliveries,
    ) -> Result<()> {
        let (reporter, _) = tonic_health::server::health_reporter();
        let reads = Reads {
            catalogue: self.catalogue.clone(),
            store: self.store.clone(),
            tail: self.tail.clone(),
            tasks: self.tasks.clone(),
            draining: self.farewell.go_away.clone(),
        };
        let explainer = deliveries.explainer();
        let authenticator = Authenticator::new(KeySource::Postgres(self.store.clone()));
        self.tasks.spawn(Kind::Watch, authenticator.clone().watch(self.tasks.stopping()));
        self.tasks.spawn(Kind::Watch, authenticator.clone().write_refusals(self.tasks.stopping()));
        let registration = match self.config.accounts.registration {
            config::Registration::Closed => Registration::Closed,
            config::Registration::Open => Registration::Open,
        };
        let (mail, postman) = Mail::open(&self.config.mail)?;
        if let Some(postman) = postman {
            self.tasks.spawn(Kind::Job, postman.run(self.tasks.stopping()));
        }
        let (sessions, desk) = Sessions::new(self.store.clone(), authenticator.clone(), mail.clone());
        self.tasks.spawn(Kind::Job, desk.run(self.tasks.stopping()));
        let routes = routes(
            publish::PublishService::new(publisher, self.tasks.clone()),
            consume::ConsumeService::new(deliveries, authenticator.clone(), self.limits.clone()),
            log::LogReads::new(reads),
            Administration {
                streams: streams::Streams::new(self.catalogue.clone()),
                groups: consumer_groups::ConsumerGroups::new(self.catalogue.clone(), explainer),
                dead_letters: dead_letters::DeadLetters::new(self.catalogue.clone(), self.schemas.clone()),
                schemas: schemas::SchemaRegistry::new(self.schemas.clone()),
                rules: rules::RuleCalls::new(self.rules.clone()),
                alerts: alert_calls::AlertCalls::new(self.alerts.clone()),
            },
            Identity {
                keys: api_keys::ApiKeyCalls::new(ApiKeys::new(self.store.clone(), authenticator.clone())),
                auth: auth::AuthCalls::new(sessions, registration),
                organizations: organizations::OrganizationCalls::new(Organizations::new(self.store.clone())),
                users: users::UserCalls::new(Users::new(self.store.clone(), authenticator.clone(), mail)),
                audit: audit::AuditCalls::new(AuditLog::new(self.store.clone())),
            },
            &reporter,
            self.config.server.reflection,
        )?;
        let pages = crate::http::Pages {
            readiness: self.readiness.clone(),
            lags: self.lags.clone(),
            alerts: self.firing.clone(),
            public_keys: authenticator.public_keys(),
        };
        let refusing = self.farewell.refusing.clone();
        let limits = (CallLimits::default(), self.limits.clone());
        let secure = if tls.is_some() { Secure::Tls } else { Secure::Plaintext };
        let browsers = Browsers::new(&self.config.server.browser_origins, &self.address, secure);
        let door = Door::new(routes, authenticator, self.config.server.reflection, limits, refusing)?;
        let door = door.for_browsers(browsers);
        let options = accept::Options::new(&self.config.server, tls);
        let closing = self.farewell.closing.clone();
        self.tasks.spawn(Kind::Accept, accept::run(grpc, Arc::new(door), self.tasks.clone(), options, closing));
        self.tasks.spawn(Kind::Http, crate::http::run(http, pages, self.tasks.clone()));
        self.tasks.spawn(Kind::Watch, health::follow(reporter, self.readiness.clone(), self.tasks.stopping()));
        Ok(())
    }
}

/// Is this a database that may be served? Also learns the log epoch.
async fn check_database(store: &Store, config: &Config) -> Result<LogEpochs> {
    let db = store.conn().await?;
    migrate::check_version(&**db).await?;
    let found = durability::check(&**db).await?;
    found.warnings.iter().for_each(|warning| tracing::warn!(%warning, "the database could be safer"));
    if !found.unsafe_settings.is_empty() && !config.database.allow_unsafe_durability {
        let why = found.unsafe_settings.join("; ");
        return Err(Error::new(
            Reason::UnsafeDurability,
            format!("the database could lose acknowledged events: {why}; change it, or allow it for tests only"),
        ));
    }
    let epochs = LogEpochs::new(0);
    epochs.check(&**db).await?;
    Ok(epochs)
}

/// What webhooks may be.
fn allowed(settings: config::Alerts) -> alerts::Allowed {
    let scheme = if settings.allow_http { alerts::Scheme::HttpToo } else { alerts::Scheme::Https };
    let reach = if settings.allow_private_addresses { alerts::Reach::PrivateToo } else { alerts::Reach::Public };
    alerts::Allowed { scheme, reach }
}

fn address(listener: &TcpListener) -> Result<SocketAddr> {
    listener.local_addr().map_err(Error::internal)
}
