//! A gRPC port that speaks TLS, as the client sees it.

use crate::support::Ground;
use eventflow::{Client, ClientOptions, Error, Event, StreamSpec};
use eventflow_broker::config::Config;
use eventflow_broker::runtime::app::App;
use eventflow_testkit::within;
use std::path::{Path, PathBuf};
use std::time::Duration;

// Made by `make.sh` beside them.
const AUTHORITY: &str = include_str!("../../../sdk-rust/tests/it/tls/authority.pem");
const HERE: Pair =
    (include_str!("../../../sdk-rust/tests/it/tls/here.pem"), include_str!("../../../sdk-rust/tests/it/tls/here.key"));
const ELSEWHERE: Pair = (
    include_str!("../../../sdk-rust/tests/it/tls/elsewhere.pem"),
    include_str!("../../../sdk-rust/tests/it/tls/elsewhere.key"),
);
const CLIENT: Pair = (
    include_str!("../../../sdk-rust/tests/it/tls/client.pem"),
    include_str!("../../../sdk-rust/tests/it/tls/client.key"),
);

/// A certificate and its key.
type Pair = (&'static str, &'static str);

/// Files as an operator gives them to a broker.
struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new(pair: Pair) -> Self {
        let files = Self { dir: tempfile::tempdir().expect("a directory") };
        files.replace(pair);
        std::fs::write(files.path("ca.pem"), AUTHORITY).expect("written");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn replace(&self, (certificate, key): Pair) {
        std::fs::write(self.path("tls.crt"), certificate).expect("written");
        std::fs::write(self.path("tls.key"), key).expect("written");
    }
}

struct Port {
    _ground: Ground,
    app: App,
    key: String,
    files: Files,
}

impl Port {
    async fn open(with_client_ca: bool) -> Self {
        let (ground, files) = (Ground::new().await, Files::new(HERE));
        let text = |path: &Path| path.display().to_string();
        let (certificate, key, ca) =
            (text(&files.path("tls.crt")), text(&files.path("tls.key")), text(&files.path("ca.pem")));
        let mut settings =
            vec![("server.tls_certificate_file", certificate.as_str()), ("server.tls_key_file", key.as_str())];
        if with_client_ca {
            settings.push(("server.tls_client_ca_file", ca.as_str()));
        }
        let app = ground.broker(&settings).await;
        let key = ground.key("acme").await;
        Self { _ground: ground, app, key, files }
    }

    fn options(&self, tls: &str) -> ClientOptions {
        let url = format!("eventflow://localhost:{}?tls={tls}", self.app.grpc_address().port());
        let options = ClientOptions::new(&url).expect("a connection string").api_key(&self.key);
        options.ca_certificate_pem(AUTHORITY).connect_timeout(Duration::from_secs(5))
    }
}

async fn publish(options: ClientOptions, stream: &str) -> Result<i64, Error> {
    let client = Client::connect_with(options).await?;
    client.streams().create(stream, StreamSpec::default().partitions(1)).await?;
    let producer = client.producer(stream).build().await?;
    let receipt = producer.send(Event::new("42 EUR")).await?;
    Ok(receipt.await?.offset)
}

async fn refusal(options: ClientOptions) -> Error {
    within("an answer", Client::connect_with(options)).await.expect_err("no connection")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_with_a_certificate_speaks_tls_and_tells_plaintext_so() {
    let port = Port::open(false).await;
    assert_eq!(publish(port.options("on"), "orders").await.expect("published"), 0);
    assert_eq!(refusal(port.options("off")).await.reason(), "SERVER_SPEAKS_TLS");
    assert_eq!(publish(port.options("on"), "bills").await.expect("others did not notice"), 0);
    let outcome = port.app.stop().await;
    assert!(outcome.cut_short.is_empty(), "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_certificate_reaches_new_connections_and_a_bad_one_none() {
    let port = Port::open(false).await;
    let old = Client::connect_with(port.options("on")).await.expect("a connection");
    // The key of another certificate: what a deployment that writes two files shows for a moment.
    port.files.replace((HERE.0, ELSEWHERE.1));
    port.files.replace((ELSEWHERE.0, "no key"));
    assert!(Client::connect_with(port.options("on")).await.is_ok(), "what cannot be used changes nothing");
    port.files.replace(ELSEWHERE);
    let changed = async {
        loop {
            // poll
            if let Err(error) = Client::connect_with(port.options("on")).await {
                return error;
            }
        }
    };
    assert_eq!(within("the changed certificate", changed).await.reason(), "CERTIFICATE_FOR_ANOTHER_HOST");
    old.streams().create("orders", StreamSpec::default()).await.expect("open connections go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_wants_client_certificates_takes_those_of_its_authority_only() {
    let port = Port::open(true).await;
    let (certificate, key) = CLIENT;
    let known = port.options("on").client_certificate_pem(certificate, key);
    assert_eq!(publish(known, "orders").await.expect("published"), 0);
    // A certificate of the same authority that is not for clients, and none at all. Under TLS 1.3 the client knows only when it
    // hears nothing but an alert.
    let (certificate, key) = HERE;
    let wrong = port.options("on").client_certificate_pem(certificate, key);
    for options in [wrong, port.options("on")] {
        let error = within("an answer", publish(options, "bills")).await.expect_err("no certificate, no call");
        // The alert may be lost with the connection that it ends; what to change is told all the same.
        assert!(["CLIENT_CERTIFICATE_REFUSED", "CONNECTION_LOST"].contains(&error.reason()), "{error}");
        assert!(error.message().contains("`client_certificate_pem`"), "{error}");
    }
    let known = port.options("on").client_certificate_pem(CLIENT.0, CLIENT.1);
    assert_eq!(publish(known, "bills").await.expect("published"), 0, "nothing of the refused is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_are_told_at_the_start() {
    let (ground, files) = (Ground::new().await, Files::new((HERE.0, ELSEWHERE.1)));
    let (certificate, key) = (files.path("tls.crt").display().to_string(), files.path("tls.key").display().to_string());
    let url = ground.database.url();
    let start = async |certificate: &str, key: &str| {
        let settings = [
            ("database.url", url.as_str()),
            ("server.listen", "127.0.0.1:0"),
            ("http.listen", "127.0.0.1:0"),
            ("server.tls_certificate_file", certificate),
            ("server.tls_key_file", key),
        ];
        let config = Config::from_overrides(&settings).expect("a configuration");
        App::start(config).await.err().expect("refused").to_string()
    };
    let mismatch = start(&certificate, &key).await;
    assert!(mismatch.contains("`server.tls_key_file` does not go with the certificate"), "{mismatch}");
    let missing = start("/nowhere/tls.crt", &key).await;
    assert!(missing.contains("`server.tls_certificate_file` `/nowhere/tls.crt` cannot be read"), "{missing}");
    let swapped = start(&key, &certificate).await;
    assert!(swapped.contains("`server.tls_certificate_file` holds no certificate in PEM form"), "{swapped}");
}
