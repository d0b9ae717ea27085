//! Alerts: a threshold on how far a consumer group is behind, and where the alert is. docs/alerts.md is the guide.
//!
//! What a value means for an alert is decided where the value is found, in the database (migration 26): a state and the
//! notification of it are one transaction there.

use crate::domain::ids::{AlertId, AlertName, GroupName, StreamName};
use crate::domain::limits::{ALERT_HOLD_MS_MAX, ALERTS_MAX, GROUP_ALERTS_MAX};
use crate::domain::retry::RetryPolicy;
use crate::domain::{Applied, Error, Reason, Result, limits};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// What a threshold is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    LagEvents,
    LagSeconds,
    OldestUnackedSeconds,
    DeadLettersPerHour,
}

impl Measure {
    pub const ALL: [Self; 4] =
        [Self::LagEvents, Self::LagSeconds, Self::OldestUnackedSeconds, Self::DeadLettersPerHour];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::LagEvents => "lag_events",
            Self::LagSeconds => "lag_seconds",
            Self::OldestUnackedSeconds => "oldest_unacked_seconds",
            Self::DeadLettersPerHour => "dead_letters_per_hour",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|measure| measure.as_str() == text)
    }
}

/// Where an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertState {
    Ok,
    Pending,
    Firing,
}

impl AlertState {
    /// What the schema does not know is fine.
    pub fn parse(text: &str) -> Self {
        match text {
            "pending" => Self::Pending,
            "firing" => Self::Firing,
            _ => Self::Ok,
        }
    }
}

/// What came of an attempt to tell a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryResult {
    Delivered,
    Retrying,
    GivenUp,
}

impl DeliveryResult {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retrying => "retrying",
            Self::GivenUp => "given_up",
        }
    }

    pub fn parse(text: &str) -> Self {
        match text {
            "delivered" => Self::Delivered,
            "retrying" => Self::Retrying,
            _ => Self::GivenUp,
        }
    }
}

/// An alert as it is stored. Times are microseconds since 1970, database time.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    pub id: AlertId,
    pub stream: StreamName,
    pub group: GroupName,
    pub name: AlertName,
    pub description: String,
    pub measure: Measure,
    pub threshold: i64,
    pub hold_ms: i64,
    /// Empty: nobody is told.
    pub webhook_url: String,
    pub secret_version: i32,
    pub secret_rotated_at: Option<i64>,
    pub state: AlertState,
    pub since: i64,
    pub value: Option<f64>,
    pub evaluated_at: Option<i64>,
    pub last_delivery: Option<LastDelivery>,
    pub version: i64,
    pub created_at: i64,
    pub updated_at: i64,
}

/// The newest attempt to tell the webhook of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastDelivery {
    pub kind: String,
    pub result: DeliveryResult,
    pub attempts: u32,
    /// 0: none was answered.
    pub http_status: u32,
    pub error: String,
    pub at: i64,
    pub retry_at: Option<i64>,
}

/// An alert to be made.
#[derive(Clone, Debug)]
pub struct NewAlert {
    pub group: GroupName,
    pub name: AlertName,
    pub description: String,
    pub measure: Measure,
    pub threshold: i64,
    pub hold_ms: i64,
    pub webhook_url: String,
}

/// What to change of an alert; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct AlertChange {
    pub description: Option<String>,
    pub measure: Option<Measure>,
    pub threshold: Option<i64>,
    pub hold_ms: Option<i64>,
    pub webhook_url: Option<String>,
}

/// Refuses a threshold that no value could be compared with.
pub fn check_threshold(field: &str, threshold: i64) -> Result<i64> {
    if threshold < 0 {
        return Err(Error::invalid(field, format!("must be 0 or more, it is {threshold}")));
    }
    Ok(threshold)
}

/// Refuses a hold out of bounds, in microseconds; answers milliseconds.
pub fn check_hold(field: &str, hold_us: i64) -> Result<i64> {
    let hold_ms = hold_us / 1_000;
    if hold_us < 0 || hold_ms > ALERT_HOLD_MS_MAX {
        return Err(Error::invalid(field, format!("must be 0 to {} hours", ALERT_HOLD_MS_MAX / 3_600_000)));
    }
    Ok(hold_ms)
}

/// How long a notification that was not taken waits: a second, twice as long each time, at most five minutes; half of it is random.
pub fn pause_ms(attempts: u32, random: u64) -> i64 {
    let policy = RetryPolicy { initial_ms: 1_000, multiplier: 2.0, max_ms: 300_000, max_attempts: u32::MAX };
    let half = policy.ceiling_ms(attempts) / 2;
    half + (random % half.unsigned_abs().max(1)).cast_signed()
}

/// Whether a notification that was not taken after so many attempts is tried again.
pub fn is_tried_again(attempts: u32) -> bool {
    attempts < limits::WEBHOOK_ATTEMPTS_MAX
}

/// The header that a notification is signed in: `t=<seconds since 1970>,v1=<hex>`, and another `v1` for a secret that is being
/// replaced. Each is the HMAC-SHA256 of the time, a dot, and the body, by the whole text of the secret.
pub fn signature(secrets: &[String], unix_s: i64, body: &[u8]) -> Result<String> {
    let mut header = format!("t={unix_s}");
    for secret in secrets {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(Error::internal)?;
        mac.update(unix_s.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        header.push_str(",v1=");
        for byte in mac.finalize().into_bytes() {
            header.push_str(&format!("{byte:02x}"));
        }
    }
    Ok(header)
}

/// No such alert.
pub fn alert_not_found(group: &GroupName, name: &AlertName) -> Error {
    let message = format!("consumer group `{group}` has no alert `{name}`; list its alerts to see what there is");
    Error::new(Reason::AlertNotFound, message).fact("group", group).fact("alert", name)
}

/// The name is taken.
pub fn alert_exists(group: &GroupName, name: &AlertName) -> Error {
    let message = format!("consumer group `{group}` has an alert `{name}`; choose another name, or update it");
    Error::new(Reason::AlertExists, message).fact("group", group).fact("alert", name).applied(Applied::No)
}

/// The group, or its organization, has as many as it may.
pub fn too_many_alerts(group: &GroupName) -> Error {
    let message = format!(
        "consumer group `{group}` has {GROUP_ALERTS_MAX} alerts, or its organization {ALERTS_MAX}, which is as many as allowed; \
         delete one first"
    );
    Error::new(Reason::TooManyAlerts, message)
        .fact("group_alerts_max", GROUP_ALERTS_MAX)
        .fact("alerts_max", ALERTS_MAX)
        .applied(Applied::No)
}

/// There is nobody to tell.
pub fn alert_has_no_webhook(group: &GroupName, name: &AlertName) -> Error {
    let message =
        format!("alert `{name}` of consumer group `{group}` has no webhook; update it with a `webhook_url` first");
    Error::new(Reason::AlertHasNoWebhook, message).fact("group", group).fact("alert", name).applied(Applied::No)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_signature_is_the_one_of_the_published_vector_for_each_secret() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac ef_whsec_test
        let one = signature(&["ef_whsec_test".to_owned()], 1_700_000_000, b"{\"a\":1}").expect("signed");
        assert_eq!(one, "t=1700000000,v1=db7395276d879cad3b115ae37243562971eb205f1f6003bc448803fde864ae81");
        let two = signature(&["ef_whsec_test".to_owned(), "other".to_owned()], 1_700_000_000, b"{\"a\":1}");
        let two = two.expect("signed");
        assert!(two.starts_with(&one) && two.matches(",v1=").count() == 2, "{two}");
    }

    #[test]
    fn thresholds_and_holds_are_bounded_and_named() {
        assert_eq!(
            check_threshold("alert.threshold", -1).expect_err("negative").violations()[0].field,
            "alert.threshold"
        );
        assert_eq!(check_hold("alert.hold", 1_500_999).expect("fine"), 1_500);
        for bad in [-1, 86_400_001_000, i64::MAX, i64::MIN] {
            assert_eq!(
                check_hold("alert.hold", bad).expect_err("refused").violations()[0].field,
                "alert.hold",
                "{bad}"
            );
        }
    }

    #[test]
    fn measures_read_back_as_they_were_written() {
        for measure in Measure::ALL {
            assert_eq!(Measure::parse(measure.as_str()), Some(measure));
        }
        assert_eq!(Measure::parse("mood"), None);
    }

    proptest! {
        #[test]
        fn the_pause_grows_to_five_minutes_and_is_never_less_than_half_of_it(attempts in 1u32..100, random: u64) {
            let ceiling = 1_000_i64.saturating_mul(1 << attempts.min(20)).min(600_000) / 2;
            let pause = pause_ms(attempts, random);
            prop_assert!((ceiling / 2..=ceiling).contains(&pause), "{attempts}: {pause}");
        }
    }
}
