//! The keys that verify access tokens, as others may read them. Written by `identity`, shown by `http`.

use std::sync::{Arc, PoisonError, RwLock};

/// A JSON Web Key Set. Cheap to clone; all clones show the same.
#[derive(Clone, Debug)]
pub struct PublicKeys(Arc<RwLock<Arc<str>>>);

impl Default for PublicKeys {
    fn default() -> Self {
        Self(Arc::new(RwLock::new("{\"keys\":[]}".into())))
    }
}

impl PublicKeys {
    pub fn show(&self, keys: String) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys.into();
    }

    pub fn text(&self) -> Arc<str> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
