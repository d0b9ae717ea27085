//! Secrets of webhooks. Nothing of one is stored: it is made of a key that all brokers share, the id of the alert, which is never
//! used again, and the version that a rotation raises.

use crate::domain::alert::Alert;
use crate::domain::ids::AlertId;
use crate::domain::{Error, Result};
use crate::store::alerts::Delivery;
use crate::store::{Store, shared_secrets};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// For so long after a rotation notifications are signed with the secret before it, too.
const OVERLAP_S: f64 = 86_400.0;

/// Makes secrets. Cheap to clone.
#[derive(Clone)]
pub(super) struct Secrets {
    store: Store,
    key: Arc<OnceCell<Vec<u8>>>,
}

impl Secrets {
    pub(super) fn new(store: Store) -> Self {
        Self { store, key: Arc::default() }
    }

    /// The secret of an alert.
    pub(super) async fn of(&self, alert: &Alert) -> Result<String> {
        make(self.key().await?, alert.id, alert.secret_version)
    }

    /// The secrets that a notification is signed with, the newest first.
    pub(super) async fn of_delivery(&self, delivery: &Delivery) -> Result<Vec<String>> {
        let key = self.key().await?;
        let overlap = delivery.secret_age_s.is_some_and(|age| age < OVERLAP_S);
        let oldest = delivery.secret_version - i32::from(overlap);
        (oldest..=delivery.secret_version).rev().map(|version| make(key, delivery.alert, version)).collect()
    }

    async fn key(&self) -> Result<&[u8]> {
        let fetch = async || shared_secrets::get(&**self.store.conn().await?, "alert-webhooks").await;
        self.key.get_or_try_init(fetch).await.map(Vec::as_slice)
    }
}

fn make(key: &[u8], alert: AlertId, version: i32) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(Error::internal)?;
    mac.update(alert.0.as_bytes());
    mac.update(&version.to_be_bytes());
    Ok(format!("ef_whsec_{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn each_alert_and_each_version_has_a_secret_of_its_own_that_every_broker_makes_alike() {
        let alert = AlertId(Uuid::from_u128(1));
        let first = make(&[7; 32], alert, 1).expect("a secret");
        assert_eq!(first, make(&[7; 32], alert, 1).expect("the same"));
        assert_eq!(first.len(), "ef_whsec_".len() + 43);
        for other in
            [make(&[7; 32], alert, 2), make(&[7; 32], AlertId(Uuid::from_u128(2)), 1), make(&[8; 32], alert, 1)]
        {
            assert_ne!(first, other.expect("a secret"));
        }
    }
}
