//! Alerts: thresholds on how far consumer groups are behind.
//!
//! ```no_run
//! use eventflow::alerts::{AlertSpec, Measure};
//! # async fn run(client: eventflow::Client) -> eventflow::Result<()> {
//! let spec = AlertSpec::new(Measure::LagSeconds, 60).with_webhook("https://hooks.example.com/eventflow");
//! let made = client.alerts().create("billing", "slow", spec).await?;
//! println!("{}", made.secret); // shown only now
//! # Ok(())
//! # }
//! ```

use std::time::{Duration, SystemTime};

use eventflow_proto::v1;

use crate::{
    call::request_id,
    client::Client,
    connection::Transport,
    convert::required,
    error::Result,
    pages::{Pages, pages},
};

/// What a threshold is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Measure {
    /// Events behind, in all partitions together.
    LagEvents,
    /// For how long the next event has been there, in seconds.
    LagSeconds,
    /// The same, and failed events that wait for another attempt count, too.
    OldestUnackedSeconds,
    /// Dead letters of the last hour that are still there.
    DeadLettersPerHour,
    /// A measure of a newer broker.
    Unknown,
}

/// Where an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AlertState {
    /// The value is not above the threshold.
    Ok,
    /// It is, but not yet for long enough.
    Pending,
    /// It was for long enough, and still is.
    Firing,
    /// A state of a newer broker.
    Unknown,
}

/// What came of an attempt to tell a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeliveryResult {
    /// It took the notification.
    Delivered,
    /// It did not; it is tried again.
    Retrying,
    /// It did not, and the notification was given up.
    GivenUp,
    /// A result of a newer broker.
    Unknown,
}

/// An alert to be made, or what to change of one; what is `None` stays, or is the default.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AlertSpec {
    /// For people; notifications hold it.
    pub description: Option<String>,
    /// What the threshold is on.
    pub measure: Option<Measure>,
    /// The alert fires while the value is above this.
    pub threshold: Option<i64>,
    /// For how long the value must be above the threshold first.
    pub hold: Option<Duration>,
    /// Where notifications go; empty: nowhere.
    pub webhook_url: Option<String>,
}

/// An alert of a group.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AlertInfo {
    /// Consumer group.
    pub group: String,
    /// Name, unique in the group.
    pub name: String,
    /// For people.
    pub description: String,
    /// What the threshold is on.
    pub measure: Measure,
    /// The alert fires while the value is above this.
    pub threshold: i64,
    /// For how long the value must be above the threshold first.
    pub hold: Duration,
    /// Where notifications go; of whoever may not manage the group its host only. Empty: nowhere.
    pub webhook_url: String,
    /// Where it is.
    pub state: AlertState,
    /// Since when (database time).
    pub state_time: SystemTime,
    /// The value at the last evaluation.
    pub value: Option<f64>,
    /// When that was.
    pub evaluate_time: Option<SystemTime>,
    /// The newest attempt to tell the webhook.
    pub last_delivery: Option<AlertDelivery>,
    /// Raised with every change of its settings.
    pub version: i64,
    /// Database time.
    pub create_time: SystemTime,
    /// Database time.
    pub update_time: SystemTime,
    /// When its secret was last rotated.
    pub secret_rotate_time: Option<SystemTime>,
}

/// An attempt to tell a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlertDelivery {
    /// `alert.firing` or `alert.resolved`.
    pub kind: String,
    /// What came of it.
    pub result: DeliveryResult,
    /// Attempts so far.
    pub attempts: u32,
    /// The HTTP status that was answered; 0: none was.
    pub http_status: u32,
    /// Why it failed; empty: it did not.
    pub error: String,
    /// When it ended.
    pub time: SystemTime,
    /// When it is tried again, at the earliest.
    pub retry_time: Option<SystemTime>,
}

/// An alert just made, or whose secret was just rotated.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct NewAlert {
    /// The alert.
    pub info: AlertInfo,
    /// What notifications are signed with, shown only now. Empty without a webhook, and when the broker had carried the request
    /// out before and only its answer was lost: rotate it then.
    pub secret: String,
}

impl std::fmt::Debug for NewAlert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewAlert").field("info", &self.info).finish_non_exhaustive()
    }
}

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlertTest {
    /// The webhook took it.
    pub delivered: bool,
    /// The HTTP status that was answered; 0: none was.
    pub http_status: u32,
    /// Why it failed; empty: it did not.
    pub error: String,
}

impl AlertSpec {
    /// An alert that fires while the measure is above the threshold.
    pub fn new(measure: Measure, threshold: i64) -> Self {
        Self { measure: Some(measure), threshold: Some(threshold), ..Self::default() }
    }

    /// It fires only after the value was above the threshold for so long.
    #[must_use]
    pub fn with_hold(mut self, hold: Duration) -> Self {
        self.hold = Some(hold);
        self
    }

    /// Where notifications go.
    #[must_use]
    pub fn with_webhook(mut self, url: impl Into<String>) -> Self {
        self.webhook_url = Some(url.into());
        self
    }

    /// For people.
    #[must_use]
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }
}

/// Alerts of consumer groups. From [`Client::alerts`].
#[derive(Clone, Debug)]
pub struct Alerts {
    client: Client,
}

impl Alerts {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Makes an alert of a group.
    ///
    /// # Errors
    /// `CONSUMER_GROUP_NOT_FOUND`, `ALERT_EXISTS`, `TOO_MANY_ALERTS`, `PERMISSION_DENIED`, `INVALID_ARGUMENT`.
    pub async fn create(&self, group: &str, name: &str, spec: AlertSpec) -> Result<NewAlert> {
        let (alert, _) = spec.into_wire(group, name);
        let request = v1::CreateAlertRequest { alert: Some(alert), request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.alerts().create_alert(request).await }
        };
        let answer = self.client.unary(call).await?;
        Ok(NewAlert { info: required(answer.alert, "alert")?.try_into()?, secret: answer.secret })
    }

    /// An alert and its state.
    ///
    /// # Errors
    /// `CONSUMER_GROUP_NOT_FOUND`, `ALERT_NOT_FOUND`.
    pub async fn get(&self, group: &str, name: &str) -> Result<AlertInfo> {
        let request = v1::GetAlertRequest { group: group.to_owned(), name: name.to_owned() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.alerts().get_alert(request).await }
        };
        required(self.client.unary(call).await?.alert, "alert")?.try_into()
    }

    /// All alerts, by group and name.
    pub fn list(&self) -> Pages<AlertInfo> {
        self.pages(String::new())
    }

    /// Alerts of one group, by name.
    pub fn list_of(&self, group: &str) -> Pages<AlertInfo> {
        self.pages(group.to_owned())
    }

    fn pages(&self, group: String) -> Pages<AlertInfo> {
        pages(self.client.clone(), move |client, page_token| {
            let request = v1::ListAlertsRequest { group: group.clone(), page_token, ..Default::default() };
            async move {
                let call = |broker: Transport| {
                    let request = request.clone();
                    async move { broker.alerts().list_alerts(request).await }
                };
                let page = client.unary(call).await?;
                let alerts = page.alerts.into_iter().map(AlertInfo::try_from).collect::<Result<_>>()?;
                Ok((alerts, page.next_page_token))
            }
        })
    }

    /// Changes what `spec` sets.
    ///
    /// # Errors
    /// `CONSUMER_GROUP_NOT_FOUND`, `ALERT_NOT_FOUND`, `PERMISSION_DENIED`, `INVALID_ARGUMENT`.
    pub async fn update(&self, group: &str, name: &str, spec: AlertSpec) -> Result<AlertInfo> {
        let (alert, paths) = spec.into_wire(group, name);
        let update_mask = Some(prost_types::FieldMask { paths });
        let request = v1::UpdateAlertRequest { alert: Some(alert), update_mask, request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.alerts().update_alert(request).await }
        };
        required(self.client.unary(call).await?.alert, "alert")?.try_into()
    }

    /// Removes an alert. Nobody is told.
    ///
    /// # Errors
    /// `CONSUMER_GROUP_NOT_FOUND`, `ALERT_NOT_FOUND`.
    pub async fn delete(&self, group: &str, name: &str) -> Result<()> {
        let (group, name) = (group.to_owned(), name.to_owned());
        let request = v1::DeleteAlertRequest { group, name, request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.alerts().delete_alert(request).await }
        };
        self.client.unary(call).await.map(drop)
    }

    /// Makes another secret; for a day notifications are signed with both.
    ///
    /// # Errors
    /// `CONSUMER_GROUP_NOT_FOUND`, `ALERT_NOT_FOUND`.
    pub async fn rotate_secret(&self, group: &str, name: &str) -> Result<NewAlert> {
        let (group, name) = (group.to_owned(), name.to_owned());
        let request = v1::RotateAlertSecretRequest { group, name, request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.alerts().rotate_alert_secret(request).await }
        };
        let answer = self.client.unary(call).await?;
        Ok(NewAlert { info: required(answer.alert, "alert")?.try_into()?, secret: answer.secret })
    }

    /// Sends the webhook a test, once, and says what came of it.
    ///
    /// # Errors
    /// `CONSUMER_GROUP_NOT_FOUND`, `ALERT_NOT_FOUND`, `ALERT_HAS_NO_WEBHOOK`, `OVERLOADED`.
    pub async fn test(&self, group: &str, name: &str) -> Result<AlertTest> {
        let request = v1::TestAlertRequest { group: group.to_owned(), name: name.to_owned() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.alerts().test_alert(request).await }
        };
        let v1::TestAlertResponse { delivered, http_status, error } = self.client.unary(call).await?;
        Ok(AlertTest { delivered, http_status, error })
    }
}
