//! `[redis]`: what brokers share beside Postgres, when they are told where.

use super::reader::Reader;
use std::{fmt, path::PathBuf};

/// A Redis, and what TLS to it needs.
#[derive(Clone)]
pub struct Redis {
    /// `redis://…` or `rediss://…`. May hold a password: never log it.
    pub url: String,
    /// The authorities of its certificate; the system's roots unless set.
    pub ca: Option<PathBuf>,
    /// A certificate to show, and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl Redis {
    /// `None`: brokers share nothing but Postgres.
    pub(super) fn read(reader: &mut Reader) -> Option<Self> {
        let url = reader.text("redis.url");
        let mut file = |key| Some(reader.text(key)).filter(|path| !path.is_empty()).map(PathBuf::from);
        let ca = file("redis.ca_file");
        let (certificate, key) = (file("redis.client_certificate_file"), file("redis.client_key_file"));
        let tls = url.starts_with("rediss://");
        if !url.is_empty() && !tls && !url.starts_with("redis://") {
            reader.refuse("redis.url", "(hidden)", "must be `redis://host:port` or, with TLS, `rediss://host:port`");
        }
        for (key, set) in [("redis.ca_file", ca.is_some()), ("redis.client_certificate_file", certificate.is_some())] {
            if set && !tls {
                reader.refuse(key, "(a file)", "needs a `redis.url` that begins with `rediss://`");
            }
        }
        if certificate.is_some() != key.is_some() {
            let missing = if key.is_some() { "redis.client_certificate_file" } else { "redis.client_key_file" };
            reader.refuse(missing, "``", "is missing: a client's certificate and its key go together");
        }
        (!url.is_empty()).then(|| Self { url, ca, client: certificate.zip(key) })
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("url", &"(hidden)").field("ca", &self.ca).field("client", &self.client).finish()
    }
}
