//! Organizations: looked at and changed by the people in them, and made by whoever registers, where that is open.

use super::granted::{Describe, Granted, ManageOrganization};
use super::sessions::{Issued, Sessions};
use super::throttle::Throttle;
use crate::domain::audit::{Origin, Target};
use crate::domain::organization::{
    Organization, check_display_name, check_organization_name, organization_exists, registration_closed,
};
use crate::domain::password::check_password;
use crate::domain::user::{User, check_person_name, email};
use crate::domain::{Error, Result};
use crate::store::once::{Answer, Once};
use crate::store::sessions::Account;
use crate::store::{Store, Tenant, organizations as stored};

/// Whether anybody may make an organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    Closed,
    Open,
}

/// Who wants an organization, and what is to be its first admin.
pub struct NewOrganization {
    pub organization: String,
    pub display_name: String,
    pub email: String,
    pub name: String,
    pub password: String,
    pub client: String,
    pub origin: Origin,
}

/// A handle on organizations. Cheap to clone.
#[derive(Clone)]
pub struct Organizations {
    store: Store,
}

impl Organizations {
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// One's own.
    pub async fn get(&self, granted: &Granted<Describe>) -> Result<Organization> {
        self.store.tenant(granted.organization(), |tenant| async move { stored::get(&tenant).await }).await
    }

    /// Changes what is given.
    pub async fn update(
        &self,
        granted: &Granted<ManageOrganization>,
        once: &Once<Organization>,
        display_name: Option<&str>,
    ) -> Result<Answer<Organization>> {
        let update = |tenant: Tenant| async move {
            stored::update(&tenant, display_name).await?;
            stored::get(&tenant).await
        };
        let target = |now: &Organization| Target::organization(&now.name);
        self.store.change(granted.actor(), once, target, update).await
    }
}

impl Sessions {
    /// Makes an organization with its first admin, and begins their session. Each one counts against its address, so that nobody
    /// makes them by the thousand.
    pub async fn register(&self, open: Registration, new: NewOrganization) -> Result<(Issued, User)> {
        if open == Registration::Closed {
            return Err(registration_closed());
        }
        check_organization_name("organization", &new.organization)?;
        check_display_name("display_name", &new.display_name)?;
        let email = email("email", &new.email)?;
        check_person_name("name", &new.name)?;
        check_password("password", &new.password, Some(&email))?;
        let throttle = Throttle::of_registration(&new.origin.address);
        throttle.check(&self.store).await?;
        throttle.failed(&self.store).await?;
        let password_hash = self.passwords.hash(new.password).await?;
        let (organization, display_name, name) = (&new.organization, &new.display_name, &new.name);
        let wanted = stored::New { organization, display_name, email: &email, name, password_hash: &password_hash };
        let user = stored::register(&**self.store.conn().await?, wanted, &new.origin).await?;
        let user = user.ok_or_else(|| organization_exists(organization))?;
        let begun = self.begin(&Account { user, password_hash }, None, &new.client, &new.origin).await?;
        begun.ok_or_else(|| Error::internal("an account that was just made is not there"))
    }
}
