//! The sessions of this broker by their ids, for Commit streams.

use crate::delivery::control::Control;
use crate::domain::ids::OrganizationId;
use crate::domain::{Error, Reason, Result};
use crate::store::{Store, membership};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;
use uuid::Uuid;

/// Requests that wait for a session; a Commit stream that sends more waits.
pub const CONTROLS: usize = 64;

/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Registry(Arc<Mutex<HashMap<Uuid, Entry>>>);

#[derive(Clone, Debug)]
struct Entry {
    organization: OrganizationId,
    control: mpsc::Sender<Control>,
}

/// Takes the session out when dropped.
#[derive(Debug)]
pub struct Registration {
    registry: Registry,
    session: Uuid,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.lock().remove(&self.session);
    }
}

impl Registry {
    pub fn register(
        &self,
        session: Uuid,
        organization: OrganizationId,
        control: mpsc::Sender<Control>,
    ) -> Registration {
        self.lock().insert(session, Entry { organization, control });
        Registration { registry: self.clone(), session }
    }

    /// The way to a session of this organization; says where it lives when that is another broker.
    pub async fn find(
        &self,
        store: &Store,
        organization: OrganizationId,
        session: Uuid,
    ) -> Result<mpsc::Sender<Control>> {
        let found = self.lock().get(&session).filter(|entry| entry.organization == organization).cloned();
        if let Some(entry) = found {
            return Ok(entry.control);
        }
        let db = store.conn().await?;
        match membership::session_broker(&**db, session).await? {
            Some((owner, name, address)) if owner == organization => Err(Error::new(
                Reason::SessionElsewhere,
                format!("the session lives on broker `{name}` at `{address}`; open the Commit stream there"),
            )
            .fact("broker", name)
            .fact("address", address)),
            _ => Err(Error::new(Reason::SessionNotFound, "no such session; it may have ended: subscribe again")),
        }
    }

    /// The way to a session, when it lives here.
    pub fn local(&self, session: Uuid) -> Option<mpsc::Sender<Control>> {
        self.lock().get(&session).map(|entry| entry.control.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
