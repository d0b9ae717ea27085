//! How long an answer takes must not tell whether there is an account.
//!
//! Tries at an account and at none take turns in random order, so that whatever else the machine does falls on both. A rank test
//! asks whether the two differ: ranks do not care how slow the slowest tries were. Equal distributions are called different once
//! in a hundred times; three times in a row is once in a million. That the test would notice a difference, controls show: the same
//! tries, with one side spared its hash, or burdened with a look at the account.

use crate::support::{Clients, Ground, PASSWORD, login_request, reason, turn};
use argon2::password_hash::PasswordHasher;
use argon2::{Algorithm, Argon2, Params, Version};
use eventflow_broker::domain::access::Role;
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1;
use std::time::Instant;
use tokio_postgres::Client;

/// Below this probability that chance alone did it, two samples differ.
const P: f64 = 0.01;
const ROUNDS: usize = 3;

/// Tries of a round, both sides together.
fn tries() -> usize {
    #[expect(clippy::disallowed_methods, reason = "how long tests may take is no setting of the broker")]
    let given = std::env::var("EVENTFLOW_TEST_TIMING_TRIES").ok();
    given.and_then(|tries| tries.parse().ok()).unwrap_or(2_000)
}

/// Two-sided p of the rank sum test of Mann and Whitney, by the normal approximation, corrected for ties.
fn mann_whitney(one: &[f64], other: &[f64]) -> f64 {
    let mut all: Vec<(f64, bool)> = one.iter().map(|x| (*x, true)).chain(other.iter().map(|x| (*x, false))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut sum, mut ties, mut at) = (0.0, 0.0, 0);
    while at < all.len() {
        let end = at + all[at..].iter().take_while(|(x, _)| *x == all[at].0).count();
        let count = (end - at) as f64;
        // The middle of the ranks that these share.
        let rank = (at + 1 + end) as f64 / 2.0;
        sum += rank * all[at..end].iter().filter(|(_, first)| *first).count() as f64;
        ties += count.powi(3) - count;
        at = end;
    }
    let (m, n) = (one.len() as f64, other.len() as f64);
    let total = m + n;
    let expected = m * (total + 1.0) / 2.0;
    let variance = m * n / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)));
    if variance <= 0.0 { 1.0 } else { two_tails((sum - expected).abs() / variance.sqrt()) }
}

/// How often a standard normal value is farther from 0 than `z` (Abramowitz and Stegun 26.2.17).
fn two_tails(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let factors = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let polynomial = factors.iter().rev().fold(0.0, |sum, factor| (sum + factor) * t);
    2.0 * (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * polynomial
}

/// Seconds that tries of two kinds took, in random order.
async fn times(
    tries: usize,
    mut one: impl AsyncFnMut() -> f64,
    mut other: impl AsyncFnMut() -> f64,
) -> (Vec<f64>, Vec<f64>) {
    let (mut ones, mut others) = (Vec::new(), Vec::new());
    while ones.len() < tries / 2 || others.len() < tries / 2 {
        if rand::random::<bool>() {
            ones.push(one().await);
        } else {
            others.push(other().await);
        }
    }
    (ones, others)
}

/// Whether rounds of tries agree that the two kinds differ.
async fn differ(mut one: impl AsyncFnMut() -> f64, mut other: impl AsyncFnMut() -> f64) -> Option<String> {
    let mut seen = Vec::new();
    for _ in 0..ROUNDS {
        let (ones, others) = times(tries(), &mut one, &mut other).await;
        let p = mann_whitney(&ones, &others);
        let median = |mut times: Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2] * 1_000.0
        };
        let (ours, theirs) = (median(ones), median(others));
        if p > P {
            return None;
        }
        seen.push(format!("p = {p:.2e}, medians {ours:.3} ms and {theirs:.3} ms"));
    }
    Some(seen.join("; "))
}

#[test]
fn the_rank_test_tells_samples_apart_and_lets_equal_ones_pass() {
    let ramp = |from: f64| (0..100).map(|x| from + f64::from(x)).collect::<Vec<_>>();
    assert!(mann_whitney(&ramp(0.0), &ramp(0.0)) > 0.99);
    assert!(mann_whitney(&ramp(0.0), &ramp(30.0)) < 1e-6);
    assert!((mann_whitney(&[1.0; 5], &[1.0; 5]) - 1.0).abs() < 1e-9);
    // A textbook's: U = 2 of 5 and 5, z = 2.19.
    let p = mann_whitney(&[1.0, 2.0, 3.0, 4.0, 7.0], &[5.0, 6.0, 8.0, 9.0, 10.0]);
    assert!((p - 0.0283).abs() < 0.001, "{p}");
    assert!((two_tails(1.959_964) - 0.05).abs() < 1e-5);
}

struct Stage {
    _ground: Ground,
    _app: App,
    clients: Clients,
    database: Client,
}

impl Stage {
    async fn new() -> Self {
        let ground = Ground::new().await;
        let app = ground.broker(&[("mail.url", "log:")]).await;
        ground.user(&app, "acme", "ada@example.com", Role::Viewer).await;
        let (clients, database) = (Clients::new(&app, "nobody").await, ground.database.connect().await);
        Self { _ground: ground, _app: app, clients, database }
    }

    /// Nobody has tried anything yet.
    async fn forget(&self) {
        self.database.batch_execute("delete from eventflow.sign_in_attempt").await.expect("forgotten");
    }

    async fn wrong_password(&self, email: &str) -> f64 {
        self.forget().await;
        let mut auth = self.clients.auth.clone();
        let begun = Instant::now();
        let status = auth.login(login_request("acme", email, "wrong")).await.expect_err("wrong");
        let took = begun.elapsed();
        assert_eq!(reason(&status), "LOGIN_FAILED");
        took.as_secs_f64()
    }

    /// `also` is what the caller waits for besides.
    async fn forgotten(&self, email: &str, also: Option<&str>) -> f64 {
        self.forget().await;
        let mut auth = self.clients.auth.clone();
        let request = v1::RequestPasswordResetRequest { organization: "acme".into(), email: email.into() };
        let begun = Instant::now();
        auth.request_password_reset(request).await.expect("asked");
        if let Some(sql) = also {
            self.database.batch_execute(sql).await.expect("done");
        }
        begun.elapsed().as_secs_f64()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_takes_as_long_as_an_account_that_does_not_exist() {
    let _turn = turn().await;
    let stage = Stage::new().await;
    let known = async || stage.wrong_password("ada@example.com").await;
    let unknown = async || stage.wrong_password("nobody@example.com").await;
    if let Some(seen) = differ(known, unknown).await {
        panic!("the time of a sign-in tells whether there is an account: {seen}");
    }
    // The control: a hash that costs next to nothing, as if one side were spared it.
    let cheap = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).expect("parameters"));
    let hash = cheap.hash_password(PASSWORD.as_bytes()).expect("a hash").to_string();
    let set = "update eventflow.user_account set password_hash = $1";
    stage.database.execute(set, &[&hash]).await.expect("set");
    let (spared, hashed) = times(
        40,
        async || stage.wrong_password("ada@example.com").await,
        async || stage.wrong_password("nobody@example.com").await,
    )
    .await;
    let p = mann_whitney(&spared, &hashed);
    assert!(p < P, "the test would not notice a hash that is skipped: p = {p}");
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_for_a_reset_takes_as_long_for_an_account_that_does_not_exist() {
    let _turn = turn().await;
    let stage = Stage::new().await;
    let known = async || stage.forgotten("ada@example.com", None).await;
    let unknown = async || stage.forgotten("nobody@example.com", None).await;
    if let Some(seen) = differ(known, unknown).await {
        panic!("the time of a request for a reset tells whether there is an account: {seen}");
    }
    // The control: as if the call itself gave the account its token.
    let inline = "select eventflow.request_reset_v1('acme', 'ada@example.com', 'x', 60, '', '')";
    let (burdened, free) = times(
        tries(),
        async || stage.forgotten("ada@example.com", Some(inline)).await,
        async || stage.forgotten("nobody@example.com", None).await,
    )
    .await;
    let p = mann_whitney(&burdened, &free);
    assert!(p < P, "the test would not notice a call that looks for the account: p = {p}");
}
