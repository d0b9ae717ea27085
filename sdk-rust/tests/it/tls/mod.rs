//! TLS, as a proxy in front of the brokers speaks it: what connects, and what a client says when it does not.

use std::{sync::Arc, time::Duration};

use eventflow::{Client, ClientOptions, Error, ErrorKind, Event};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::fake::{Broker, Database};

const AUTHORITY: &str = include_str!("authority.pem");
const STRANGER: &str = include_str!("stranger.pem");

/// A certificate and its key, made by `make.sh`.
type Identity = (&'static str, &'static str);
const HERE: Identity = (include_str!("here.pem"), include_str!("here.key"));
const ELSEWHERE: Identity = (include_str!("elsewhere.pem"), include_str!("elsewhere.key"));
const EXPIRED: Identity = (include_str!("expired.pem"), include_str!("expired.key"));

/// No failure may take longer than an attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A broker behind a proxy that ends TLS.
struct Ground {
    database: Database,
    _broker: Broker,
    port: u16,
    proxy: JoinHandle<()>,
}

impl Ground {
    async fn new((certificate, key): Identity) -> Self {
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a key for the certificate");
        config.alpn_protocols = vec![b"h2".to_vec()];
        let database = Database::new(1);
        let broker = Broker::start("a", &database);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let proxy = proxy(listener, TlsAcceptor::from(Arc::new(config)), broker.address);
        let proxy = tokio::runtime::Handle::current().spawn(proxy);
        Self { database, _broker: broker, port, proxy }
    }

    fn options(&self, host: &str, tls: &str, authority: Option<&str>) -> ClientOptions {
        let url = format!("eventflow://{host}:{}?tls={tls}", self.port);
        let options = ClientOptions::new(&url).expect("a connection string").api_key("ef_live_test");
        match authority {
            Some(pem) => options.ca_certificate_pem(pem),
            None => options,
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.proxy.abort();
    }
}

async fn proxy(listener: TcpListener, acceptor: TlsAcceptor, broker: std::net::SocketAddr) {
    while let Ok((tcp, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        let serve = async move {
            // A handshake that fails ends the connection; the client knows why.
            let Ok(mut tls) = acceptor.accept(tcp).await else { return };
            let mut upstream = TcpStream::connect(broker).await.expect("a broker");
            let _ = copy_bidirectional(&mut tls, &mut upstream).await;
        };
        tokio::runtime::Handle::current().spawn(serve);
    }
}

async fn refusal(options: ClientOptions) -> Error {
    let connect = Client::connect_with(options.connect_timeout(CONNECT_TIMEOUT));
    // bound: one attempt to connect + 1 s
    let connected = tokio::time::timeout(CONNECT_TIMEOUT + Duration::from_secs(1), connect).await;
    let error = connected.expect("an answer in time").expect_err("no connection");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    error
}

fn assert_says(error: &Error, reason: &str, what_to_change: &str) {
    assert_eq!(error.reason(), reason, "{error}");
    assert!(error.message().contains(what_to_change), "{error}");
}

#[tokio::test]
async fn events_pass_through_tls_under_a_given_authority() {
    let ground = Ground::new(HERE).await;
    for host in ["localhost", "127.0.0.1"] {
        let client = Client::connect_with(ground.options(host, "on", Some(AUTHORITY))).await.expect("a connection");
        let producer = client.producer("orders").build().await.expect("a producer");
        producer.send(Event::new(host)).await.expect("room").await.expect("appended");
        producer.close().await.expect("closed");
    }
    assert_eq!(ground.database.payloads(0), ["localhost", "127.0.0.1"]);
}

#[tokio::test]
async fn an_unknown_authority_is_refused_and_the_option_named() {
    let ground = Ground::new(HERE).await;
    for authority in [None, Some(STRANGER)] {
        let error = refusal(ground.options("localhost", "on", authority)).await;
        assert_says(&error, "CERTIFICATE_NOT_TRUSTED", "`ca_certificate_pem`");
        assert!(error.message().contains("SSL_CERT_FILE"), "{error}");
    }
    assert!(ground.database.tables().log.is_empty());
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused_and_its_names_told() {
    let ground = Ground::new(ELSEWHERE).await;
    let error = refusal(ground.options("localhost", "on", Some(AUTHORITY))).await;
    assert_says(&error, "CERTIFICATE_FOR_ANOTHER_HOST", "`elsewhere.example`");
    assert!(error.message().contains("not for `localhost`"), "{error}");
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let ground = Ground::new(EXPIRED).await;
    let error = refusal(ground.options("localhost", "on", Some(AUTHORITY))).await;
    assert_says(&error, "CERTIFICATE_EXPIRED", "renew");
}

#[tokio::test]
async fn plaintext_to_a_tls_port_says_what_to_change() {
    let ground = Ground::new(HERE).await;
    let error = refusal(ground.options("localhost", "off", None)).await;
    assert_says(&error, "SERVER_SPEAKS_TLS", "?tls=on");
}

#[tokio::test]
async fn tls_to_a_plaintext_port_says_what_to_change() {
    let broker = Broker::start("a", &Database::new(1));
    let url = format!("eventflow://localhost:{}?tls=on", broker.address.port());
    let options = ClientOptions::new(&url).expect("a connection string").ca_certificate_pem(AUTHORITY);
    assert_says(&refusal(options).await, "SERVER_SPEAKS_PLAINTEXT", "?tls=off");
}

#[tokio::test]
async fn what_is_no_certificate_is_a_wrong_option() {
    let ground = Ground::new(HERE).await;
    let options = ground.options("localhost", "on", Some("no certificate"));
    let error = Client::connect_with(options).await.expect_err("no connection");
    assert_eq!((error.kind(), error.reason()), (ErrorKind::InvalidArgument, "INVALID_OPTIONS"), "{error}");
    assert!(error.message().contains("ca_certificate_pem"), "{error}");
}

#[tokio::test]
async fn a_port_that_says_nothing_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    for tls in ["on", "off"] {
        let options = ClientOptions::new(&format!("eventflow://127.0.0.1:{port}?tls={tls}"));
        let options = options.expect("a connection string").connect_timeout(Duration::from_millis(100));
        let error = Client::connect_with(options).await.expect_err("no connection");
        assert_says(&error, "CONNECTION_TIMED_OUT", "is it a broker, and is it overloaded?");
    }
}
