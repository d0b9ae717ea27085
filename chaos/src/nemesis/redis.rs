//! Faults of the Redis through which brokers share their rates: nobody may notice.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::sleep;

use super::{Hit, Injected, Kind};
use crate::load::World;

pub async fn inject(world: &Arc<World>, kind: Kind, rng: &mut StdRng) -> Injected {
    let time = Duration::from_millis(rng.random_range(200..5_000));
    let Some(redis) = &world.ground.redis else { return Err("there is no redis-server on this machine".to_owned()) };
    let mut redis = redis.lock().await;
    // The checker wants to know whether it was used at all.
    let told = calls(&redis.command(&["INFO", "commandstats"]), "set");
    let target = match kind {
        Kind::RedisKill => {
            redis.kill().await;
            sleep(time).await;
            redis.restart().await;
            format!("{told} buckets told, {} ms", time.as_millis())
        }
        Kind::RedisFreeze => {
            redis.pause();
            sleep(time).await;
            redis.resume();
            format!("{told} buckets told, {} ms", time.as_millis())
        }
        _ => {
            redis.command(&["FLUSHALL", "SYNC"]);
            redis.command(&["SCRIPT", "FLUSH"]);
            format!("{told} buckets told")
        }
    };
    // Time to share again before the next one.
    sleep(Duration::from_millis(1_500)).await;
    Ok(Hit { target, back: None })
}

/// How often a command ran, as `INFO commandstats` says it.
fn calls(info: &str, command: &str) -> u64 {
    let name = format!("cmdstat_{command}:calls=");
    let found = info.lines().find_map(|line| line.strip_prefix(&name));
    found.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::calls;

    #[test]
    fn calls_are_read_from_what_redis_says_of_its_commands() {
        let info = "$99\r\n# Commandstats\r\ncmdstat_setex:calls=1,usec=2\r\ncmdstat_set:calls=42,usec=99,usec_per_call=2.3\r\n";
        assert_eq!(calls(info, "set"), 42);
        assert_eq!(calls(info, "get"), 0);
    }
}
