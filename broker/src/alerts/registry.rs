//! Alerts: made, listed, changed, tried, deleted.

use super::Alerts;
use super::webhook::{Post, Posted};
use crate::catalogue::{Answer, Once, Page, existing_group};
use crate::domain::alert::{
    Alert, AlertChange, NewAlert, alert_exists, alert_has_no_webhook, alert_not_found, signature, too_many_alerts,
};
use crate::domain::audit::Target;
use crate::domain::group::group_not_found;
use crate::domain::ids::{AlertName, GroupName};
use crate::domain::limits::{ALERTS_MAX, GROUP_ALERTS_MAX};
use crate::domain::page::{List, page_size};
use crate::domain::{Applied, Error, Reason, Result};
use crate::identity::{Describe, Granted, ManageGroups, Permission};
use crate::runtime::clock;
use crate::store::{Tenant, alerts as stored};
use std::time::Duration;
use uuid::Uuid;

/// An alert that was made, or whose secret was rotated.
#[derive(Debug)]
pub struct Made {
    pub alert: Alert,
    /// Empty: there is no webhook.
    pub secret: String,
}

/// An alert that is gone.
#[derive(Debug)]
pub struct Removed;

impl Alerts {
    /// Makes an alert.
    pub async fn create(
        &self,
        granted: &Granted<ManageGroups>,
        once: &Once<Made>,
        new: &NewAlert,
    ) -> Result<Answer<Made>> {
        self.webhooks.check("alert.webhook_url", &new.webhook_url)?;
        let target = |_: &Made| Target::alert(&new.group, &new.name).saying(new.measure.as_str());
        let create = |tenant: Tenant| async move {
            let group = existing_group(&tenant, granted, &new.group).await?.id;
            if !stored::hold_group(&tenant, group).await? {
                return Err(group_not_found(new.group.as_str()));
            }
            let made = stored::create(&tenant, group, new).await?;
            made.ok_or_else(|| alert_exists(&new.group, &new.name))?;
            let (of_group, of_organization) = stored::count(&tenant, group).await?;
            if of_group > GROUP_ALERTS_MAX || of_organization > ALERTS_MAX {
                return Err(too_many_alerts(&new.group));
            }
            self.made(find(&tenant, granted, (&new.group, &new.name)).await?).await
        };
        self.store.change(granted.actor(), once, target, create).await
    }

    /// The alert as it is now.
    pub async fn get(&self, granted: &Granted<Describe>, which: (&GroupName, &AlertName)) -> Result<Alert> {
        let organization = granted.organization();
        self.store.tenant(organization, |tenant| async move { find(&tenant, granted, which).await }).await
    }

    /// A page of alerts by group and name: those of one group, or all that the proof covers.
    pub async fn list(
        &self,
        granted: &Granted<Describe>,
        group: Option<&GroupName>,
        size: u32,
        token: &str,
    ) -> Result<Page<Alert>> {
        let (organization, size) = (granted.organization(), page_size("page_size", size)?);
        let filter = group.map_or("", GroupName::as_str);
        let (list, key) = (List { organization, method: "ListAlerts", filter }, self.store.page_key().await?);
        let after = &key.open(list, token)?;
        let found = |tenant: Tenant| async move {
            let group = match group {
                Some(name) => Some(existing_group(&tenant, granted, name).await?.id),
                None => None,
            };
            stored::list(&tenant, group, after, size + 1).await
        };
        let found = self.store.tenant(organization, found).await?;
        let page = key.page(list, size, found, |alert| format!("{}/{}", alert.group, alert.name));
        Ok(page.of(|alert| granted.covers(&alert.stream)))
    }

    /// Changes what `change` names.
    pub async fn update(
        &self,
        granted: &Granted<ManageGroups>,
        once: &Once<Alert>,
        which: (&GroupName, &AlertName),
        change: &AlertChange,
    ) -> Result<Answer<Alert>> {
        self.webhooks.check("alert.webhook_url", change.webhook_url.as_deref().unwrap_or_default())?;
        let (group, name) = which;
        let target = |_: &Alert| Target::alert(group, name);
        let update = |tenant: Tenant| async move {
            let id = existing_group(&tenant, granted, group).await?.id;
            let updated = stored::update(&tenant, id, name, change).await?;
            let updated = updated.ok_or_else(|| alert_not_found(group, name))?;
            if change.webhook_url.as_deref() == Some("") {
                stored::drop_deliveries(&tenant, updated).await?;
            }
            find(&tenant, granted, which).await
        };
        self.store.change(granted.actor(), once, target, update).await
    }

    /// Removes an alert with its notifications.
    pub async fn delete(
        &self,
        granted: &Granted<ManageGroups>,
        once: &Once<Removed>,
        (group, name): (&GroupName, &AlertName),
    ) -> Result<Answer<Removed>> {
        let target = |_: &Removed| Target::alert(group, name);
        let delete = |tenant: Tenant| async move {
            let id = existing_group(&tenant, granted, group).await?.id;
            let deleted = stored::delete(&tenant, id, name).await?;
            if deleted { Ok(Removed) } else { Err(alert_not_found(group, name)) }
        };
        self.store.change(granted.actor(), once, target, delete).await
    }

    /// Makes another secret.
    pub async fn rotate_secret(
        &self,
        granted: &Granted<ManageGroups>,
        once: &Once<Made>,
        which: (&GroupName, &AlertName),
    ) -> Result<Answer<Made>> {
        let (group, name) = which;
        let target = |_: &Made| Target::alert(group, name);
        let rotate = |tenant: Tenant| async move {
            let id = existing_group(&tenant, granted, group).await?.id;
            if !stored::rotate(&tenant, id, name).await? {
                return Err(alert_not_found(group, name));
            }
            let alert = find(&tenant, granted, which).await?;
            let secret = self.secrets.of(&alert).await?;
            Ok(Made { alert, secret })
        };
        self.store.change(granted.actor(), once, target, rotate).await
    }

    /// Tells the webhook that this is a test, once, and says what came of it.
    pub async fn test(
        &self,
        granted: &Granted<ManageGroups>,
        once: &Once<(Alert, String)>,
        which: (&GroupName, &AlertName),
    ) -> Result<Posted> {
        let (group, name) = which;
        let _place = self.tests.try_acquire().map_err(|_| too_many_tests())?;
        let id = Uuid::new_v4();
        let target = |_: &(Alert, String)| Target::alert(group, name);
        // The entry in the audit log comes before what it says.
        let prepare = |tenant: Tenant| async move {
            let alert = find(&tenant, granted, which).await?;
            if alert.webhook_url.is_empty() {
                return Err(alert_has_no_webhook(group, name));
            }
            let body = stored::test_body(&tenant, alert.id, id).await?;
            Ok((alert, body))
        };
        let prepared = self.store.change(granted.actor(), once, target, prepare).await?;
        let Some((alert, body)) = prepared.fresh() else {
            return Err(Error::internal("a test has no request id, and so no repeat"));
        };
        let secrets = [self.secrets.of(alert).await?];
        let signature = signature(&secrets, clock::unix_us().div_euclid(1_000_000), body.as_bytes())?;
        Ok(self.webhooks.post(&alert.webhook_url, &Post { id, signature, body }).await)
    }

    async fn made(&self, alert: Alert) -> Result<Made> {
        let secret = if alert.webhook_url.is_empty() { String::new() } else { self.secrets.of(&alert).await? };
        Ok(Made { alert, secret })
    }
}

/// The alert of that name, for a proof that covers the stream of its group.
async fn find<P: Permission>(
    tenant: &Tenant,
    granted: &Granted<P>,
    (group, name): (&GroupName, &AlertName),
) -> Result<Alert> {
    let id = existing_group(tenant, granted, group).await?.id;
    stored::find(tenant, id, name).await?.ok_or_else(|| alert_not_found(group, name))
}

fn too_many_tests() -> Error {
    Error::new(Reason::Overloaded, "too many webhooks are tested at once; try again")
        .retry_after(Duration::from_secs(2))
        .applied(Applied::No)
}
