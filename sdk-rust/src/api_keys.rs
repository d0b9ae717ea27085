//! Administration of API keys.
//!
//! ```no_run
//! # async fn run(client: eventflow::Client) -> eventflow::Result<()> {
//! use eventflow::api_keys::{Grant, KeySpec, Scope};
//!
//! let grant = Grant::in_streams(Scope::Publish, ["orders.*"]);
//! let made = client.api_keys().create(KeySpec::new([grant]).description("the till")).await?;
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
    convert::{duration_to_wire, required, time_to_wire},
    error::Result,
    pages::{Pages, pages},
};

/// Part of what a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// Append events.
    Publish,
    /// Be a member of consumer groups, and commit.
    Consume,
    /// Read events without a group.
    Read,
    /// Manage streams and consumer groups; where it is not limited to streams, also API keys.
    Manage,
    /// A scope of a newer broker.
    Unknown,
}

/// A scope, and where it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The scope.
    pub scope: Scope,
    /// Patterns of stream names, in which `*` is any run of characters. Empty: everywhere.
    pub streams: Vec<String>,
}

impl Grant {
    /// A scope that holds everywhere.
    pub fn everywhere(scope: Scope) -> Self {
        Self { scope, streams: Vec::new() }
    }

    /// A scope that holds in streams that one of the patterns matches.
    pub fn in_streams<P: Into<String>>(scope: Scope, patterns: impl IntoIterator<Item = P>) -> Self {
        Self { scope, streams: patterns.into_iter().map(Into::into).collect() }
    }
}

/// A key without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyInfo {
    /// Public part, safe to log.
    pub id: String,
    /// The key with its secret left out, such as `ef_live_7Qm2abcdefgh_…`.
    pub masked: String,
    /// For people.
    pub description: String,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// Who made it: `key:` and an id, or `operator`.
    pub creator: String,
    /// Database time.
    pub create_time: SystemTime,
    /// When it ends by itself.
    pub expire_time: Option<SystemTime>,
    /// When a broker last accepted it, true to about half a minute.
    pub last_use_time: Option<SystemTime>,
    /// When it was revoked.
    pub revoke_time: Option<SystemTime>,
    /// The key that takes its place, after a rotation.
    pub successor: Option<String>,
}

/// A key just made.
#[derive(Clone)]
#[non_exhaustive]
pub struct NewKey {
    /// The key.
    pub info: KeyInfo,
    /// The whole key with its secret, shown only now. Empty when the broker had carried the request out before, and only its
    /// answer was lost: revoke the key then, and make another one.
    pub secret: String,
    /// When the key that it replaces ends.
    pub old_expire_time: Option<SystemTime>,
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKey").field("info", &self.info).finish_non_exhaustive()
    }
}

/// What a new key shall be.
#[derive(Clone, Debug)]
pub struct KeySpec {
    pub(crate) grants: Vec<Grant>,
    pub(crate) description: String,
    pub(crate) test: bool,
    pub(crate) expire_time: Option<SystemTime>,
}

impl KeySpec {
    /// A key that may do this.
    pub fn new(grants: impl IntoIterator<Item = Grant>) -> Self {
        Self { grants: grants.into_iter().collect(), description: String::new(), test: false, expire_time: None }
    }

    /// For people; at most 1,024 bytes.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = text.into();
        self
    }

    /// Makes a key that begins with `ef_test_`; it is no different otherwise.
    #[must_use]
    pub fn test(mut self) -> Self {
        self.test = true;
        self
    }

    /// When the key ends by itself; default never.
    #[must_use]
    pub fn expire_time(mut self, time: SystemTime) -> Self {
        self.expire_time = Some(time);
        self
    }
}

/// Administration of API keys. From [`Client::api_keys`].
#[derive(Clone, Debug)]
pub struct ApiKeys {
    client: Client,
}

impl ApiKeys {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Makes a key.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`, also for a scope that the caller does not have; `TOO_MANY_API_KEYS`, `INVALID_ARGUMENT`.
    pub async fn create(&self, spec: KeySpec) -> Result<NewKey> {
        let environment = if spec.test { v1::KeyEnvironment::Test } else { v1::KeyEnvironment::Live };
        let api_key = v1::ApiKey {
            description: spec.description,
            environment: environment.into(),
            grants: spec.grants.into_iter().map(Into::into).collect(),
            expire_time: spec.expire_time.map(time_to_wire),
            ..v1::ApiKey::default()
        };
        let request = v1::CreateApiKeyRequest { api_key: Some(api_key), request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.api_keys().create_api_key(request).await }
        };
        let answer = self.client.unary(call).await?;
        let info = required(answer.api_key, "api_key")?.try_into()?;
        Ok(NewKey { info, secret: answer.secret, old_expire_time: None })
    }

    /// Returns a key, without its secret.
    ///
    /// # Errors
    /// `API_KEY_NOT_FOUND`, `PERMISSION_DENIED`.
    pub async fn get(&self, id: &str) -> Result<KeyInfo> {
        let request = v1::GetApiKeyRequest { id: id.to_owned() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.api_keys().get_api_key(request).await }
        };
        required(self.client.unary(call).await?.api_key, "api_key")?.try_into()
    }

    /// Keys that may be used, oldest first.
    pub fn list(&self) -> Pages<KeyInfo> {
        self.pages(false)
    }

    /// All keys, also those that were revoked or have expired.
    pub fn list_with_ended(&self) -> Pages<KeyInfo> {
        self.pages(true)
    }

    fn pages(&self, include_ended: bool) -> Pages<KeyInfo> {
        pages(self.client.clone(), move |client, page_token| async move {
            let request = v1::ListApiKeysRequest { page_token, include_ended, ..Default::default() };
            let call = |broker: Transport| {
                let request = request.clone();
                async move { broker.api_keys().list_api_keys(request).await }
            };
            let page = client.unary(call).await?;
            let keys = page.api_keys.into_iter().map(KeyInfo::try_from).collect::<Result<_>>()?;
            Ok((keys, page.next_page_token))
        })
    }

    /// Makes a key that may do what another one may; the other one goes on for `overlap`, by default for a day.
    ///
    /// # Errors
    /// `API_KEY_NOT_FOUND`, `API_KEY_ENDED`, `PERMISSION_DENIED`, `INVALID_ARGUMENT`.
    pub async fn rotate(&self, id: &str, overlap: Option<Duration>) -> Result<NewKey> {
        let request = v1::RotateApiKeyRequest {
            id: id.to_owned(),
            overlap: overlap.map(duration_to_wire),
            request_id: request_id(),
        };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.api_keys().rotate_api_key(request).await }
        };
        let answer = self.client.unary(call).await?;
        let info = required(answer.api_key, "api_key")?.try_into()?;
        let old_expire_time = answer.old_expire_time.as_ref().map(crate::convert::time_from_wire);
        Ok(NewKey { info, secret: answer.secret, old_expire_time })
    }

    /// Ends a key: within five seconds every broker refuses it and ends its open streams.
    ///
    /// # Errors
    /// `API_KEY_NOT_FOUND`, `PERMISSION_DENIED`.
    pub async fn revoke(&self, id: &str) -> Result<KeyInfo> {
        let request = v1::RevokeApiKeyRequest { id: id.to_owned(), request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.api_keys().revoke_api_key(request).await }
        };
        required(self.client.unary(call).await?.api_key, "api_key")?.try_into()
    }
}
