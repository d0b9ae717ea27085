//! How a client reaches the cluster, in the two spellings that clients read.

/// Parameters of a connection. `host` is a socket directory or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Option<String>,
    pub database: String,
}

impl Connection {
    /// The same server, another database.
    #[must_use]
    pub fn with_database(mut self, database: impl Into<String>) -> Self {
        self.database = database.into();
        self
    }

    /// `postgresql:///postgres?host=…`: the host goes into the query, because a path cannot stand before it.
    #[must_use]
    pub fn url(&self) -> String {
        let mut url = format!(
            "postgresql:///{}?host={}&port={}&user={}",
            percent(&self.database),
            percent(&self.host),
            self.port,
            percent(&self.user)
        );
        if let Some(password) = &self.password {
            url.push_str("&password=");
            url.push_str(&percent(password));
        }
        url
    }

    /// `host='…' port=… user='…' dbname='…'`.
    #[must_use]
    pub fn keywords(&self) -> String {
        let mut text = format!(
            "host={} port={} user={} dbname={}",
            quoted(&self.host),
            self.port,
            quoted(&self.user),
            quoted(&self.database)
        );
        if let Some(password) = &self.password {
            text.push_str(" password=");
            text.push_str(&quoted(password));
        }
        text
    }
}

fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_characters_survive_both_spellings() {
        let connection = Connection {
            host: "/tmp/it's here".into(),
            port: 5432,
            user: "postgres".into(),
            password: None,
            database: "a/b".into(),
        };
        assert_eq!(connection.url(), "postgresql:///a%2Fb?host=%2Ftmp%2Fit%27s%20here&port=5432&user=postgres");
        assert_eq!(connection.keywords(), r"host='/tmp/it\'s here' port=5432 user='postgres' dbname='a/b'");
    }
}
