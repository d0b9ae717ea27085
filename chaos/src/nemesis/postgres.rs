//! Faults of the database.

use std::sync::Arc;
use std::time::Duration;

use eventflow_testkit::Stop;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::sleep;
use tokio_postgres::Client;

use super::{Hit, Injected, Kind};
use crate::load::World;

pub async fn inject(world: &Arc<World>, kind: Kind, rng: &mut StdRng) -> Injected {
    let postgres = &world.ground.postgres;
    let cluster = postgres.cluster();
    match kind {
        Kind::PostgresFast | Kind::PostgresImmediate | Kind::PostgresKill => {
            let how = match kind {
                Kind::PostgresFast => Stop::Fast,
                Kind::PostgresImmediate => Stop::Immediate,
                _ => Stop::Kill,
            };
            cluster.stop(how).await;
            sleep(Duration::from_millis(rng.random_range(0..1_500))).await;
            cluster.start().await;
            let back = Some(world.now());
            // Time to do some work before the next one.
            sleep(Duration::from_millis(rng.random_range(1_000..3_000))).await;
            Ok(Hit { target: String::new(), back })
        }
        Kind::PostgresFreeze => {
            cluster.freeze().await;
            sleep(Duration::from_millis(rng.random_range(200..3_000))).await;
            cluster.thaw().await;
            Ok(Hit { target: String::new(), back: Some(world.now()) })
        }
        Kind::FailoverSynchronous | Kind::FailoverBehind | Kind::DiskFull | Kind::LogDiskFull => {
            on_special_ground(world, kind, rng).await
        }
        Kind::TerminateBackends => {
            let share = rng.random_range(1..5);
            let database = &postgres.connection().database;
            let client = connect(world).await?;
            let sql = format!(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                 where pid <> pg_backend_pid() and datname = '{database}' and pid % {share} = 0"
            );
            let row = client.query_one(&sql, &[]).await.map_err(|error| error.to_string())?;
            Ok(format!("{} of them", row.get::<_, i64>(0)).into())
        }
        Kind::LongTransaction => {
            let client = connect(world).await?;
            let begin = "begin isolation level repeatable read; select count(*) from eventflow.event_batch; \
                         create temporary table held (n int)";
            client.batch_execute(begin).await.map_err(|error| error.to_string())?;
            sleep(Duration::from_millis(rng.random_range(3_000..8_000))).await;
            Ok(String::new().into())
        }
        _ => {
            let client = connect(world).await?;
            let pause = rng.random_range(200..2_000);
            let sql = format!(
                "begin; select 1 from eventflow.partition_head where partition_id % 3 = {} for update; \
                 select pg_sleep({}); rollback",
                rng.random_range(0..3),
                f64::from(pause) / 1_000.0
            );
            client.batch_execute(&sql).await.map_err(|error| error.to_string())?;
            Ok(format!("{pause} ms").into())
        }
    }
}

/// What needs a standby or a small disk.
async fn on_special_ground(world: &World, kind: Kind, rng: &mut StdRng) -> Injected {
    let postgres = &world.ground.postgres;
    match kind {
        Kind::FailoverSynchronous | Kind::FailoverBehind => {
            let behind = Duration::from_millis(rng.random_range(300..1_500));
            postgres.fail_over(behind).await.map_err(|error| error.to_string())?;
            let back = Some(world.now());
            sleep(Duration::from_millis(rng.random_range(1_000..3_000))).await;
            postgres.add_standby().await;
            Ok(Hit { target: String::new(), back })
        }
        Kind::DiskFull => {
            let time = Duration::from_millis(rng.random_range(1_000..4_000));
            postgres.fill_disk(time).await?;
            Ok(Hit { target: format!("{} ms", time.as_millis()), back: Some(world.now()) })
        }
        _ => {
            postgres.fill_log_disk().await?;
            let back = Some(world.now());
            sleep(Duration::from_millis(rng.random_range(1_000..3_000))).await;
            Ok(Hit { target: String::new(), back })
        }
    }
}

/// A session past all proxies.
async fn connect(world: &World) -> Result<Client, String> {
    world.ground.postgres.connect().await.map_err(|error| error.to_string())
}
