//! Page tokens: where a list goes on, sealed so that nobody can make one up or carry one elsewhere.
//!
//! A token holds the name after which the next page starts, and a seal over it, the organization, the method and the filter.
//! It says nothing that its holder has not seen. All brokers share the key, so any of them takes any token.

use crate::domain::ids::OrganizationId;
use crate::domain::{Error, Reason, Result, limits};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use sha2::Sha256;

const SEAL_BYTES: usize = 32;

/// The list that a token belongs to.
#[derive(Clone, Copy, Debug)]
pub struct List<'a> {
    pub organization: OrganizationId,
    pub method: &'static str,
    /// Whatever narrows the list, in one text; a token of another filter is refused.
    pub filter: &'a str,
}

/// A part of a list, and the token of the next one: empty at the end.
#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next_page_token: String,
}

impl<T> Page<T> {
    /// Without what does not concern the caller; such a page may be shorter than the next one.
    #[must_use]
    pub fn of(mut self, concerns: impl Fn(&T) -> bool) -> Self {
        self.items.retain(concerns);
        self
    }
}

/// The key that seals. It never shows.
#[derive(Clone)]
pub struct PageKey([u8; 64]);

impl PageKey {
    /// From a secret of at most 64 bytes, padded as HMAC pads a short key.
    pub fn new(secret: &[u8]) -> Self {
        let mut key = [0; 64];
        let length = secret.len().min(key.len());
        key[..length].copy_from_slice(&secret[..length]);
        Self(key)
    }

    /// Makes a page of `size` from what was found, which is one more when there is another page.
    pub fn page<T>(&self, list: List<'_>, size: u32, mut found: Vec<T>, name: impl Fn(&T) -> String) -> Page<T> {
        let more = found.len() > size as usize;
        found.truncate(size as usize);
        let next_page_token = match found.last() {
            Some(last) if more => self.seal(list, &name(last)),
            _ => String::new(),
        };
        Page { items: found, next_page_token }
    }

    /// The token of the page that starts after `after`.
    pub fn seal(&self, list: List<'_>, after: &str) -> String {
        let mut token = self.mac(list, after.as_bytes()).finalize().into_bytes().to_vec();
        token.extend_from_slice(after.as_bytes());
        URL_SAFE_NO_PAD.encode(token)
    }

    /// What a token says. The empty token is the first page, which starts after nothing.
    pub fn open(&self, list: List<'_>, token: &str) -> Result<String> {
        if token.is_empty() {
            return Ok(String::new());
        }
        self.unseal(list, token).ok_or_else(|| {
            Error::new(
                Reason::InvalidPageToken,
                "`page_token` was changed, or belongs to another call; start again without one",
            )
            .violation("page_token", "must be the `next_page_token` of the same call with the same filter")
        })
    }

    fn unseal(&self, list: List<'_>, token: &str) -> Option<String> {
        let token = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (seal, after) = token.split_at_checked(SEAL_BYTES)?;
        self.mac(list, after).verify_slice(seal).ok()?;
        String::from_utf8(after.to_vec()).ok()
    }

    /// Each part goes in with its length, so that no two lists look the same to the seal.
    fn mac(&self, list: List<'_>, after: &[u8]) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as Mac>::new(&self.0.into());
        mac.update(&list.organization.0.to_be_bytes());
        for part in [list.method.as_bytes(), list.filter.as_bytes(), after] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

/// The size of a page: the default for 0.
pub fn page_size(field: &str, wanted: u32) -> Result<u32> {
    let max = limits::PAGE_SIZE_MAX;
    match wanted {
        0 => Ok(limits::PAGE_SIZE_DEFAULT),
        _ if wanted > max => Err(Error::invalid(field, format!("must be 1 to {max}, it is {wanted}"))),
        _ => Ok(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: List<'static> = List { organization: OrganizationId(1), method: "ListStreams", filter: "" };

    #[test]
    fn a_token_opens_where_it_was_sealed() {
        let key = PageKey::new(&[7; 32]);
        for after in ["orders", "a", &"z".repeat(128)] {
            let token = key.seal(LIST, after);
            assert_eq!(key.open(LIST, &token).expect("opens"), after);
        }
        assert_eq!(key.open(LIST, "").expect("first page"), "");
    }

    #[test]
    fn a_token_is_refused_everywhere_else() {
        let key = PageKey::new(&[7; 32]);
        let token = key.seal(LIST, "orders");
        let elsewhere = [
            List { organization: OrganizationId(2), ..LIST },
            List { method: "ListConsumerGroups", ..LIST },
            List { filter: "billing", ..LIST },
        ];
        for list in elsewhere {
            let error = key.open(list, &token).expect_err("belongs elsewhere");
            assert_eq!(error.reason(), Reason::InvalidPageToken);
        }
        assert!(PageKey::new(&[8; 32]).open(LIST, &token).is_err(), "another key");
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let key = PageKey::new(&[7; 32]);
        let token = URL_SAFE_NO_PAD.decode(key.seal(LIST, "orders")).expect("base64");
        for at in 0..token.len() {
            let mut changed = token.clone();
            changed[at] ^= 1;
            assert!(key.open(LIST, &URL_SAFE_NO_PAD.encode(changed)).is_err(), "at {at}");
        }
        for bad in ["x", "ä", "====", "AAAA", " "] {
            assert!(key.open(LIST, bad).is_err(), "`{bad}`");
        }
    }

    #[test]
    fn a_page_has_a_default_and_a_bound() {
        assert_eq!(page_size("page_size", 0).expect("default"), limits::PAGE_SIZE_DEFAULT);
        assert_eq!(page_size("page_size", 1_000).expect("largest"), 1_000);
        assert!(page_size("page_size", 1_001).expect_err("too large").message().contains("1000"));
    }
}
