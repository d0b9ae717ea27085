//! The one definition of the work.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, JoinSet};

use crate::Result;
use crate::latency::Latencies;
use crate::pace::Schedule;
use crate::peer::{About, Batching, Consumer, Peer, Producer};
use crate::tally::{Numbered, Tally};

const GROUPS: usize = 10;
const PRODUCERS: usize = 32;
const RATE: u32 = 1_000;
/// Events between looks at the clock.
const LOOK: u64 = 256;
const WARM_UP: Duration = Duration::from_millis(500);
/// How long nothing may come before it is given up.
const STALL: Duration = Duration::from_secs(20);
/// What a figure may take: so long, and so many times the span. Slow peers drain what was published for one span.
const PATIENCE: Duration = Duration::from_secs(20);
const SPANS: u32 = 10;

/// One round of one peer: what it has measured, and which figures took too long.
pub struct Round {
    span: Duration,
    pub about: Option<About>,
    pub figures: BTreeMap<String, f64>,
    pub left_out: Vec<String>,
}

impl Round {
    pub fn new(span: Duration) -> Self {
        Self { span, about: None, figures: BTreeMap::new(), left_out: Vec::new() }
    }

    /// Every step. Fails when an event is lost, repeated or damaged; a step that takes too long is left out.
    pub async fn run<P: Peer>(&mut self, mut peer: P) -> Result<()> {
        self.about = Some(peer.about());
        let span = self.span;
        self.step("publish_200", publish(&mut peer, span, "publish_200", 200, Batching::Best)).await?;
        self.step("publish_1000", publish(&mut peer, span, "publish_1000", 1_000, Batching::Best)).await?;
        self.step("publish_200_default", publish(&mut peer, span, "publish_200_default", 200, Batching::Default))
            .await?;
        self.step("producers", producers(&mut peer, span)).await?;
        self.step("end_to_end", follow(&mut peer, span, "end_to_end", 1)).await?;
        self.step("fan_out", follow(&mut peer, span, "fan_out", GROUPS)).await?;
        self.step("catch_up", catch_up(&mut peer, span)).await?;
        self.step("latency", latency(&mut peer, span)).await
    }

    async fn step(&mut self, name: &str, step: impl Future<Output = Result<Figures>>) -> Result<()> {
        let limit = PATIENCE + SPANS * self.span;
        match tokio::time::timeout(limit, step).await {
            Ok(Ok(figures)) => self.figures.extend(figures),
            Ok(Err(failure)) => return Err(format!("{name}: {failure}").into()),
            Err(_) => self.left_out.push(format!("{name} took longer than {} s", limit.as_secs())),
        }
        Ok(())
    }
}

type Figures = Vec<(String, f64)>;

/// Publishes for so long from this number on; the number after the last. Fails unless all is acknowledged.
async fn publish_for(producer: &mut impl Producer, numbered: &Numbered, from: u64, span: Duration) -> Result<u64> {
    let (start, mut number) = (Instant::now(), from);
    while start.elapsed() < span {
        for _ in 0..LOOK {
            producer.send(numbered.payload(number)).await?;
            number += 1;
        }
    }
    match producer.flush().await? {
        acknowledged if acknowledged == number => Ok(number),
        acknowledged => Err(format!("{number} events were published, {acknowledged} acknowledged").into()),
    }
}

async fn check_stored(peer: &impl Peer, stream: &str, acknowledged: u64) -> Result<()> {
    match peer.stored(stream).await? {
        stored if stored == acknowledged => Ok(()),
        stored => Err(format!("`{stream}` holds {stored} events, {acknowledged} were acknowledged").into()),
    }
}

async fn publish(
    peer: &mut impl Peer,
    span: Duration,
    stream: &str,
    size: usize,
    batching: Batching,
) -> Result<Figures> {
    let numbered = Numbered::new(size);
    peer.stream(stream, &[]).await?;
    let mut producer = peer.producer(stream, batching).await?;
    let first = publish_for(&mut producer, &numbered, 0, WARM_UP).await?;
    let (cpu, disk, start) = (peer.server().cpu_seconds(), peer.server().disk_bytes(), Instant::now());
    let end = publish_for(&mut producer, &numbered, first, span).await?;
    let (seconds, events) = (start.elapsed().as_secs_f64(), (end - first) as f64);
    let mut figures = vec![(stream.to_owned(), events / seconds)];
    if batching == Batching::Best {
        let (cpu, disk) = (peer.server().cpu_seconds() - cpu, peer.server().disk_bytes().saturating_sub(disk));
        figures.push((format!("server_cpu_{size}"), cpu / events * 1e6));
        figures.push((format!("disk_{size}"), disk as f64 / events));
    }
    check_stored(peer, stream, end).await?;
    Ok(figures)
}

/// Producers on connections of their own, each of which waits for its event before it sends the next.
async fn producers(peer: &mut impl Peer, span: Duration) -> Result<Figures> {
    peer.stream("producers", &[]).await?;
    let (numbered, next) = (Numbered::new(200), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    let mut ready = Vec::new();
    for _ in 0..PRODUCERS {
        let mut producer = peer.producer("producers", Batching::Best).await?;
        producer.one(numbered.payload(next.fetch_add(1, Ordering::Relaxed))).await?;
        ready.push(producer);
    }
    let start = Instant::now();
    for mut producer in ready {
        let (numbered, next) = (numbered.clone(), Arc::clone(&next));
        tasks.spawn(async move {
            while start.elapsed() < span {
                producer.one(numbered.payload(next.fetch_add(1, Ordering::Relaxed))).await?;
            }
            Ok::<_, crate::Failure>(producer)
        });
    }
    let mut done = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        done.push(ended??);
    }
    let (seconds, events) = (start.elapsed().as_secs_f64(), next.load(Ordering::Relaxed));
    check_stored(peer, "producers", events).await?;
    Ok(vec![("producers".to_owned(), (events - PRODUCERS as u64) as f64 / seconds)])
}

/// Deliveries a second to so many groups, while one producer publishes, until each has all.
async fn follow(peer: &mut impl Peer, span: Duration, stream: &str, groups: usize) -> Result<Figures> {
    let numbered = Numbered::new(200);
    let names: Vec<String> = (0..groups).map(|number| format!("{stream}_{number}")).collect();
    peer.stream(stream, &names).await?;
    let mut producer = peer.producer(stream, Batching::Best).await?;
    let mut followers = Vec::new();
    for name in &names {
        followers.push(Follower::start(peer.consumer(stream, name).await?, &numbered, |_| {}));
    }
    let first = publish_for(&mut producer, &numbered, 0, WARM_UP).await?;
    for follower in &followers {
        follower.until(first).await?;
    }
    let start = Instant::now();
    let end = publish_for(&mut producer, &numbered, first, span).await?;
    for follower in &followers {
        follower.until(end).await?;
    }
    Ok(vec![(stream.to_owned(), (end - first) as f64 * groups as f64 / start.elapsed().as_secs_f64())])
}

async fn catch_up(peer: &mut impl Peer, span: Duration) -> Result<Figures> {
    let numbered = Numbered::new(200);
    peer.stream("catch_up", &["catch_up_0".into()]).await?;
    let mut producer = peer.producer("catch_up", Batching::Best).await?;
    let end = publish_for(&mut producer, &numbered, 0, span).await?;
    // Joining counts.
    let start = Instant::now();
    let follower = Follower::start(peer.consumer("catch_up", "catch_up_0").await?, &numbered, |_| {});
    follower.until(end).await?;
    Ok(vec![("catch_up".to_owned(), end as f64 / start.elapsed().as_secs_f64())])
}

/// At 1,000 a second, each awaited before the next, counted from when it was due.
async fn latency(peer: &mut impl Peer, span: Duration) -> Result<Figures> {
    let numbered = Numbered::new(200);
    peer.stream("latency", &["latency_0".into()]).await?;
    let mut producer = peer.producer("latency", Batching::Best).await?;
    let consumer = peer.consumer("latency", "latency_0").await?;
    let (warm_up, events) = (u64::from(RATE) / 2, span.as_secs() * u64::from(RATE));
    let schedule = Schedule::new(Instant::now() + Duration::from_millis(200), RATE);
    let arrived = Arc::new(std::sync::Mutex::new(Latencies::new()?));
    let into = Arc::clone(&arrived);
    let follower = Follower::start(consumer, &numbered, move |number| {
        if number >= warm_up
            && let Ok(mut latencies) = into.lock()
        {
            latencies.record(schedule.due(number).elapsed());
        }
    });
    let runtime = tokio::runtime::Handle::current();
    let paced = tokio::task::spawn_blocking(move || {
        let mut acknowledged = Latencies::new()?;
        for number in 0..warm_up + events {
            let payload = numbered.payload(number);
            let due = schedule.wait(number);
            // Nobody can end this thread: it ends by itself.
            runtime.block_on(tokio::time::timeout(STALL, producer.one(payload)))??;
            if number >= warm_up {
                acknowledged.record(due.elapsed());
            }
        }
        Ok::<_, crate::Failure>((acknowledged, producer))
    });
    let (acknowledged, _producer) = paced.await??;
    follower.until(warm_up + events).await?;
    let arrived = arrived.lock().map_err(|_| "a follower panicked")?;
    let mut figures = Vec::new();
    for (name, latencies) in [("publish", &acknowledged), ("end_to_end", &*arrived)] {
        figures.push((format!("{name}_p50"), latencies.percentile_ms(50.0)));
        figures.push((format!("{name}_p99"), latencies.percentile_ms(99.0)));
    }
    Ok(figures)
}

/// A consumer that looks at each event, as an application does. Dropping it ends it.
struct Follower {
    seen: Arc<AtomicU64>,
    task: JoinHandle<crate::Failure>,
}

impl Follower {
    fn start(consumer: impl Consumer, numbered: &Numbered, each: impl FnMut(u64) + Send + 'static) -> Self {
        let seen = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(go_through(consumer, Tally::new(numbered.clone()), Arc::clone(&seen), each));
        Self { seen, task }
    }

    /// Returns when every event below this number has come, each once and whole.
    async fn until(&self, events: u64) -> Result<()> {
        let mut last = (0, Instant::now());
        loop {
            let now = self.seen.load(Ordering::Relaxed);
            if now >= events && !self.task.is_finished() {
                return if now == events { Ok(()) } else { Err(format!("{now} delivered of {events}").into()) };
            }
            if now > last.0 {
                last = (now, Instant::now());
            } else if self.task.is_finished() || last.1.elapsed() > STALL {
                return Err(format!("nothing more comes: {now} of {events} were delivered (or see below)").into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn go_through(
    mut consumer: impl Consumer,
    mut tally: Tally,
    seen: Arc<AtomicU64>,
    mut each: impl FnMut(u64),
) -> crate::Failure {
    let fault = loop {
        let payloads = match consumer.next().await {
            Ok(payloads) => payloads,
            Err(failure) => break failure,
        };
        for payload in payloads {
            if let Some(number) = tally.take(&payload) {
                each(number);
            }
        }
        if tally.repeated + tally.damaged > 0 {
            break format!("{} repeated, {} damaged", tally.repeated, tally.damaged).into();
        }
        seen.store(tally.events, Ordering::Relaxed);
    };
    eprintln!("a consumer ended: {fault}");
    fault
}

/// Fails as absent when a program is not there.
pub fn program(names: &[&str]) -> Result<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all = std::env::split_paths(&path).flat_map(|dir| names.iter().map(move |name| Path::new(&dir).join(name)));
    all.find(|path| path.is_file())
        .ok_or_else(|| crate::peer::Absent(format!("`{}` is not installed", names[0])).into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::{Follower, publish_for};
    use crate::Result;
    use crate::peer::{Consumer, Producer};
    use crate::tally::Numbered;

    /// Acknowledges all but so many.
    struct Losing(u64, u64);

    impl Producer for Losing {
        async fn send(&mut self, _: Bytes) -> Result<()> {
            self.1 += 1;
            Ok(())
        }

        async fn flush(&mut self) -> Result<u64> {
            Ok(self.1 - self.0)
        }

        async fn one(&mut self, _: Bytes) -> Result<()> {
            Ok(())
        }
    }

    /// Gives these, then nothing.
    struct Giving(Vec<Bytes>);

    impl Consumer for Giving {
        async fn next(&mut self) -> Result<Vec<Bytes>> {
            if self.0.is_empty() {
                std::future::pending::<()>().await;
            }
            Ok(std::mem::take(&mut self.0))
        }
    }

    #[tokio::test]
    async fn a_publish_that_is_not_acknowledged_fails_the_step() {
        let (numbered, span) = (Numbered::new(200), Duration::from_millis(1));
        assert!(publish_for(&mut Losing(0, 0), &numbered, 0, span).await.is_ok());
        assert!(publish_for(&mut Losing(1, 0), &numbered, 0, span).await.is_err());
    }

    #[tokio::test]
    async fn a_repeated_or_damaged_event_fails_the_step() {
        let numbered = Numbered::new(200);
        let given = |numbers: &[u64]| Giving(numbers.iter().map(|number| numbered.payload(*number)).collect());
        assert!(Follower::start(given(&[0, 1]), &numbered, |_| {}).until(2).await.is_ok());
        assert!(Follower::start(given(&[0, 1, 1]), &numbered, |_| {}).until(2).await.is_err());
        let damaged = Giving(vec![numbered.payload(0), numbered.payload(1).slice(1..)]);
        assert!(Follower::start(damaged, &numbered, |_| {}).until(2).await.is_err());
    }
}
