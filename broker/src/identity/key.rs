//! An API key: `ef_live_<id><…>`, made, parsed, and never shown by accident.

use super::{
    caller::KeyId,
    key_text::{checksum, is_base62, random},
};
use crate::domain::api_key::Environment;
use sha2::{Digest, Sha256};
use std::fmt;

const ID: usize = 12;
const SECRET: usize = 32;
const CHECKSUM: usize = 6;

/// A whole key: `ef_live_` or `ef_test_`, 12 characters of id, `_`, 32 of secret (190 bits), 6 of checksum; all base62.
/// The checksum is over everything before it. For scanners: `ef_(live|test)_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    environment: Environment,
    id: KeyId,
    secret: [u8; SECRET],
}

impl ApiKey {
    /// A new key from the operating system's randomness.
    pub fn generate(environment: Environment) -> Self {
        let mut key = Self { environment, id: KeyId([b'0'; ID]), secret: [b'0'; SECRET] };
        key.id.0.copy_from_slice(random(ID).as_bytes());
        key.secret.copy_from_slice(random(SECRET).as_bytes());
        key
    }

    /// Reads a key. `None` when it is not one, or was mistyped: no database is needed to know.
    pub fn parse(text: &str) -> Option<Self> {
        let environment = [Environment::Live, Environment::Test]
            .into_iter()
            .find(|environment| text.starts_with(environment.prefix()))?;
        let (id, tail) = text[environment.prefix().len()..].split_once('_')?;
        if id.len() != ID || tail.len() != SECRET + CHECKSUM || !is_base62(id) || !is_base62(tail) {
            return None;
        }
        let (body, crc) = text.split_at(text.len() - CHECKSUM);
        if checksum(body) != crc.as_bytes() {
            return None;
        }
        let id = KeyId(id.as_bytes().try_into().ok()?);
        let secret = tail.as_bytes()[..SECRET].try_into().ok()?;
        Some(Self { environment, id, secret })
    }

    pub fn environment(&self) -> Environment {
        self.environment
    }

    /// The public part.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What is stored: a fast hash is right for a secret of 190 random bits.
    pub fn secret_sha256(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }

    /// The whole key with its secret, to be shown once to whoever asked for it.
    pub fn reveal(&self) -> String {
        let secret = String::from_utf8_lossy(&self.secret);
        let body = format!("{}{}_{secret}", self.environment.prefix(), self.id);
        let crc = checksum(&body);
        body + &String::from_utf8_lossy(&crc)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}_(hidden)", self.environment.prefix(), self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_key_reads_back_and_has_the_published_shape() {
        for environment in [Environment::Live, Environment::Test] {
            let key = ApiKey::generate(environment);
            let text = key.reveal();
            assert_eq!(text.len(), 8 + 12 + 1 + 38, "`{text}`");
            assert_eq!(ApiKey::parse(&text), Some(key));
        }
        assert_ne!(ApiKey::generate(Environment::Live), ApiKey::generate(Environment::Live));
    }

    #[test]
    fn the_format_is_final() {
        let key = ApiKey { environment: Environment::Live, id: KeyId(*b"7Qm2abcdefgh"), secret: [b'x'; 32] };
        let text = "ef_live_7Qm2abcdefgh_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
        assert_eq!(key.reveal(), format!("{text}{}", String::from_utf8_lossy(&checksum(text))));
        assert_eq!(checksum(""), *b"000000");
        assert_eq!(checksum("123456789"), *b"3jZRME", "crc32 of the usual vector is 0xcbf43926");
    }

    #[test]
    fn every_single_mistyped_character_is_noticed() {
        let text = ApiKey::generate(Environment::Live).reveal();
        for at in 0..text.len() {
            let mut wrong = text.clone().into_bytes();
            wrong[at] = if wrong[at] == b'a' { b'b' } else { b'a' };
            assert_eq!(ApiKey::parse(std::str::from_utf8(&wrong).expect("ascii")), None, "at {at}");
        }
    }

    #[test]
    fn what_is_not_a_key_is_refused_without_a_panic() {
        let good = ApiKey::generate(Environment::Live).reveal();
        for bad in [
            "",
            "ef_live_",
            "ef_live__",
            "Bearer x",
            "ef_prod_a_b",
            "ef_live_äöüäöü_ä",
            &good[1..],
            &format!("{good}x"),
        ] {
            assert_eq!(ApiKey::parse(bad), None, "`{bad}`");
        }
    }

    #[test]
    fn the_secret_never_shows() {
        let key = ApiKey::generate(Environment::Live);
        let secret = String::from_utf8_lossy(&key.secret).into_owned();
        assert!(!format!("{key:?}").contains(&secret));
    }
}
