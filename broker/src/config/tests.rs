use super::{source::Sources, *};

const URL: (&str, &str) = ("database.url", "postgres://eventflow@localhost/eventflow");

fn check(file: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let mut sources = Sources::with_defaults();
    sources.add_text("eventflow.toml", file);
    sources.add_environment(environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect());
    Config::check(sources)
}

#[test]
fn the_defaults_are_complete_and_each_is_read_and_documented() {
    let config = Config::from_overrides(&[URL]).expect("defaults");
    assert_eq!(config.database.pool_size, 8);
    assert_eq!(config.publish.in_flight_bytes, 64 << 20);
    assert_eq!(config.server.advertise, "127.0.0.1:50051");

    let keys = DEFAULTS.lines().filter(|line| line.contains(" = ") && !line.starts_with('#')).count();
    assert!((1..=60).contains(&keys), "{keys} keys: the limit is 60");
    let mut before = "";
    for line in DEFAULTS.lines() {
        let is_key = line.contains(" = ") && !line.starts_with('#');
        assert!(!is_key || before.starts_with('#'), "`{line}` needs a comment with its unit and when to change it");
        before = line;
    }
}

#[test]
fn later_sources_win() {
    let file = "[database]\nurl = 'postgres://a/b'\npool_size = 9\nlanes = 4\n";
    let config = check(file, &[("EVENTFLOW_DATABASE_POOL_SIZE", "10")]).expect("valid");
    assert_eq!((config.database.pool_size, config.database.lanes), (10, 4));
}

#[test]
fn all_mistakes_are_reported_at_once_and_name_key_value_and_range() {
    let file = "loose = 1\n[database]\npool_size = 0\n[log]\nformat = 'xml'\nlevels = 'info'\n[server]\nlisten = 'here'\n\
                [delivery]\nheartbeat_ms = 9000\n";
    let error = check(file, &[("EVENTFLOW_PUBLISH_IN_FLIGHT_BYTES", "lots"), ("EVENTFLOW_DATABASE_POOL", "3")])
        .expect_err("mistakes");
    let text = error.to_string();
    for part in [
        "`loose` (in `eventflow.toml`) is not a setting",
        "`log.levels` (in `eventflow.toml`) is not a setting; did you mean `log.level`?",
        "`database.pool` (from `EVENTFLOW_DATABASE_POOL`) is not a setting",
        "`database.pool_size` = 0 (in `eventflow.toml`) must be a whole number of connections from 1 to 1000",
        "`database.url` = `` must be set",
        "`publish.in_flight_bytes` = \"lots\" (from `EVENTFLOW_PUBLISH_IN_FLIGHT_BYTES`) must be a whole number of bytes",
        "`log.format` = \"xml\" (in `eventflow.toml`) must be one of `json`, `text`",
        "`server.listen` = \"here\" (in `eventflow.toml`) must be an IP address and a port",
        "`delivery.silence_limit_ms` = 15000 must be at least twice `delivery.heartbeat_ms`, which is 9000",
    ] {
        assert!(text.contains(part), "missing: {part}\nin: {text}");
    }
    assert_eq!(error.mistakes().len(), 9, "{text}");
}

#[test]
fn variables_of_the_client_are_not_settings() {
    let variables =
        [("EVENTFLOW_URL", "eventflow://h:1"), ("EVENTFLOW_API_KEY", "k"), ("EVENTFLOW_DATABASE_URL", URL.1)];
    assert!(check("", &variables).is_ok());
}

#[test]
fn the_database_url_never_shows() {
    let secret = "mysql://root:hunter2@db";
    let error = Config::from_overrides(&[("database.url", secret)]).expect_err("wrong scheme");
    assert!(!error.to_string().contains("hunter2"));
    let config = Config::from_overrides(&[("database.url", "postgres://u:hunter2@db/e")]).expect("valid");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn mail_needs_a_sender_and_its_password_never_shows() {
    let load = |url: &str, from: &str| Config::from_overrides(&[URL, ("mail.url", url), ("mail.from", from)]);
    for wrong in ["smtps://root:hunter2@", "https://root:hunter2@mail", "smtp://root:hunter2@mail?tls=off"] {
        let error = load(wrong, "a@b").expect_err("no mail server").to_string();
        assert!(error.contains("`mail.url` = (hidden)") && !error.contains("hunter2"), "{error}");
    }
    let config = load("smtps://root:hunter2@mail", "EventFlow <no-reply@example.com>").expect("valid");
    assert!(!format!("{config:?}").contains("hunter2"));
    for from in ["", "EventFlow", "a@b\r\nBcc: c@d"] {
        let error = load("smtps://mail", from).expect_err("nobody's mail").to_string();
        assert!(error.contains("`mail.from`"), "{error}");
    }
    assert!(load("log:", "").is_ok() && load("", "").is_ok());
}

#[test]
fn tls_needs_a_certificate_and_its_key() {
    let mistakes = |overrides: &[(&str, &str)]| {
        let mut all = vec![("database.url", "postgres://a/b")];
        all.extend_from_slice(overrides);
        Config::from_overrides(&all).expect_err("a mistake").to_string()
    };
    let (certificate, key) = ("server.tls_certificate_file", "server.tls_key_file");
    assert!(mistakes(&[(certificate, "a.pem")]).contains("`server.tls_key_file` = `` is missing"));
    assert!(mistakes(&[(key, "a.key")]).contains("`server.tls_certificate_file` = `` is missing"));
    assert!(mistakes(&[("server.tls_client_ca_file", "ca.pem")]).contains("needs `server.tls_certificate_file`"));
    let both = [("database.url", "postgres://a/b"), (certificate, "a.pem"), (key, "a.key")];
    assert!(Config::from_overrides(&both).expect("a configuration").server.tls.is_some());
}

#[test]
fn an_origin_is_written_as_browsers_send_it() {
    let origins = |text: &str| check("", &[URL_VARIABLE, ("EVENTFLOW_SERVER_BROWSER_ORIGINS", text)]);
    let config = origins("https://console.example.com, http://localhost:5173").expect("valid");
    assert_eq!(config.server.browser_origins, ["https://console.example.com", "http://localhost:5173"]);
    assert!(origins("").expect("none").server.browser_origins.is_empty());
    for wrong in
        ["*", "https://*.example.com", "console.example.com", "https://a.example/", "https://A.example", "null"]
    {
        let error = origins(wrong).expect_err(wrong).to_string();
        assert!(error.contains("server.browser_origins"), "{error}");
    }
}

const URL_VARIABLE: (&str, &str) = ("EVENTFLOW_DATABASE_URL", "postgres://eventflow@localhost/eventflow");

#[test]
fn a_redis_is_named_by_a_url_that_never_shows_and_its_files_need_tls() {
    let redis = |settings: &[(&str, &str)]| {
        let mut all = vec![URL];
        all.extend_from_slice(settings);
        Config::from_overrides(&all).map(|config| config.redis)
    };
    assert!(redis(&[]).expect("valid").is_none());
    let config = redis(&[("redis.url", "redis://:hunter2@cache/1")]).expect("valid").expect("a Redis");
    assert!(!format!("{config:?}").contains("hunter2"));
    let refused = |settings: &[(&str, &str)]| redis(settings).expect_err("a mistake").to_string();
    let text = refused(&[("redis.url", "http://:hunter2@cache")]);
    assert!(text.contains("`redis.url` = (hidden) must be `redis://host:port`") && !text.contains("hunter2"), "{text}");
    assert!(
        refused(&[("redis.url", "redis://cache"), ("redis.ca_file", "ca.pem")]).contains("begins with `rediss://`")
    );
    let certificate = ("redis.client_certificate_file", "client.pem");
    assert!(
        refused(&[("redis.url", "rediss://cache"), certificate]).contains("`redis.client_key_file` = `` is missing")
    );
}
