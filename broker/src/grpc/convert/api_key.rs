//! API keys.

use crate::domain::access::{Grant, Grants, Reach, Scope};
use crate::domain::api_key::{Environment, KeyInfo, NewKey};
use crate::domain::page::Page;
use crate::domain::pattern::Pattern;
use crate::domain::{Error, Result};
use crate::grpc::convert::time::{duration_us, timestamp, timestamp_us};
use crate::identity::Made;
use eventflow_proto::v1;
use prost::Message;

/// The key to be made.
pub fn new_key(wire: Option<v1::ApiKey>) -> Result<NewKey> {
    let wire = wire.ok_or_else(|| Error::invalid("api_key", "must be set"))?;
    let environment = match v1::KeyEnvironment::try_from(wire.environment) {
        Ok(v1::KeyEnvironment::Test) => Environment::Test,
        Ok(_) => Environment::Live,
        Err(_) => return Err(Error::invalid("api_key.environment", "must be live or test")),
    };
    let expires_at = wire.expire_time.as_ref().map(|time| timestamp_us("api_key.expire_time", time)).transpose()?;
    Ok(NewKey { environment, grants: grants(&wire.grants)?, description: wire.description, expires_at })
}

/// Microseconds of overlap, if it was said.
pub fn overlap(wire: Option<&prost_types::Duration>) -> Result<Option<i64>> {
    wire.map(|overlap| duration_us("overlap", overlap)).transpose()
}

fn grants(wire: &[v1::Grant]) -> Result<Grants> {
    let grant = |(index, grant): (usize, &v1::Grant)| {
        let field = format!("api_key.grants[{index}]");
        let scope = match v1::Scope::try_from(grant.scope) {
            Ok(v1::Scope::Publish) => Scope::Publish,
            Ok(v1::Scope::Consume) => Scope::Consume,
            Ok(v1::Scope::Read) => Scope::Read,
            Ok(v1::Scope::Manage) => Scope::Manage,
            _ => {
                return Err(Error::invalid(format!("{field}.scope"), "must be publish, consume, read or manage"));
            }
        };
        let pattern = |(index, text): (usize, &String)| Pattern::parse(&format!("{field}.streams[{index}]"), text);
        let patterns: Vec<Pattern> = grant.streams.iter().enumerate().map(pattern).collect::<Result<_>>()?;
        let reach = if patterns.is_empty() { Reach::Everywhere } else { Reach::Only(patterns.into()) };
        Ok(Grant { scope, reach })
    };
    let grants: Vec<Grant> = wire.iter().enumerate().map(grant).collect::<Result<_>>()?;
    Grants::new("api_key.grants", grants)
}

fn wire_grants(grants: &Grants) -> Vec<v1::Grant> {
    let grant = |grant: &Grant| {
        let scope = match grant.scope {
            Scope::Publish => v1::Scope::Publish,
            Scope::Consume => v1::Scope::Consume,
            Scope::Read => v1::Scope::Read,
            Scope::Manage => v1::Scope::Manage,
        };
        let streams = match &grant.reach {
            Reach::Everywhere => Vec::new(),
            Reach::Only(patterns) => patterns.iter().map(ToString::to_string).collect(),
        };
        v1::Grant { scope: scope.into(), streams }
    };
    grants.iter().map(grant).collect()
}

impl From<&KeyInfo> for v1::ApiKey {
    fn from(info: &KeyInfo) -> Self {
        let environment = match info.environment {
            Environment::Live => v1::KeyEnvironment::Live,
            Environment::Test => v1::KeyEnvironment::Test,
        };
        Self {
            id: info.id.clone(),
            masked: info.masked(),
            description: info.description.clone(),
            environment: environment.into(),
            grants: wire_grants(&info.grants),
            creator: info.created_by.clone(),
            create_time: Some(timestamp(info.created_at)),
            expire_time: info.expires_at.map(timestamp),
            last_use_time: info.last_used_at.map(timestamp),
            revoke_time: info.revoked_at.map(timestamp),
            successor: info.successor.clone().unwrap_or_default(),
        }
    }
}

impl From<&KeyInfo> for v1::RevokeApiKeyResponse {
    fn from(info: &KeyInfo) -> Self {
        Self { api_key: Some(info.into()) }
    }
}

impl From<Page<KeyInfo>> for v1::ListApiKeysResponse {
    fn from(page: Page<KeyInfo>) -> Self {
        Self { api_keys: page.items.iter().map(Into::into).collect(), next_page_token: page.next_page_token }
    }
}

impl From<&Made> for v1::CreateApiKeyResponse {
    fn from(made: &Made) -> Self {
        Self { api_key: Some((&made.info).into()), secret: made.key.reveal() }
    }
}

impl From<&Made> for v1::RotateApiKeyResponse {
    fn from(made: &Made) -> Self {
        let old_expire_time = made.old_expires_at.map(timestamp);
        Self { api_key: Some((&made.info).into()), secret: made.key.reveal(), old_expire_time }
    }
}

/// An answer that shows a secret.
pub trait ShowsSecret: Message + for<'a> From<&'a Made> {
    fn hide(&mut self);
}

impl ShowsSecret for v1::CreateApiKeyResponse {
    fn hide(&mut self) {
        self.secret.clear();
    }
}

impl ShowsSecret for v1::RotateApiKeyResponse {
    fn hide(&mut self) {
        self.secret.clear();
    }
}

/// The answer as it is kept for a repeat: the secret is in no table.
pub fn without_secret<R: ShowsSecret>(made: &Made) -> Vec<u8> {
    let mut answer = R::from(made);
    answer.hide();
    answer.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(scope: v1::Scope, streams: &[&str]) -> v1::Grant {
        v1::Grant { scope: scope.into(), streams: streams.iter().map(|text| (*text).to_owned()).collect() }
    }

    #[test]
    fn grants_come_back_as_they_were_sent() {
        let sent = [wire(v1::Scope::Publish, &["orders.*", "audit"]), wire(v1::Scope::Read, &[])];
        assert_eq!(wire_grants(&grants(&sent).expect("grants")), sent);
    }

    #[test]
    fn a_wrong_grant_is_named_by_its_path() {
        for (sent, field) in [
            (vec![], "api_key.grants"),
            (vec![wire(v1::Scope::Unspecified, &[])], "api_key.grants[0].scope"),
            (vec![wire(v1::Scope::Read, &[]), wire(v1::Scope::Publish, &["a", "B"])], "api_key.grants[1].streams[1]"),
        ] {
            assert_eq!(grants(&sent).expect_err("refused").violations()[0].field, field);
        }
    }
}
