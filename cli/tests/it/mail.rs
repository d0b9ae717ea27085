//! Mail from the command line's side: a forgotten password on `dev`, which logs it, and on `serve`, over TLS.

use eventflow_testkit::{Database, MailServer, MailTls, Process, Signal, free_ports};

use crate::{
    people::with_input,
    support::{Ended, Home},
};

const AUTHORITY: &str = include_str!("../../../sdk-rust/tests/it/tls/authority.pem");
const HERE: &str = include_str!("../../../sdk-rust/tests/it/tls/here.pem");
const KEY: &str = include_str!("../../../sdk-rust/tests/it/tls/here.key");
/// `\0ada\0p@ss word` in base64.
const LOGIN: &str = "AGFkYQBwQHNzIHdvcmQ=";

fn ok(ended: Ended) -> String {
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.out
}

fn token_of(line: &str) -> String {
    let token = line.split_whitespace().find(|word| word.starts_with("ef_reset_"));
    token.unwrap_or_else(|| panic!("no token in `{line}`")).to_owned()
}

const FORGOT: [&str; 6] = ["password", "forgot", "--organization", "acme", "--email", "ada@example.com"];
const LOGIN_AGAIN: [&str; 5] = ["login", "--organization", "acme", "--email", "ada@example.com"];

#[tokio::test]
async fn a_forgotten_password_is_reset_with_what_dev_logs() {
    let home = Home::new();
    let [grpc, http]: [u16; 2] = free_ports();
    let (listen, http) = (format!("127.0.0.1:{grpc}"), format!("127.0.0.1:{http}"));
    let dir = home.path("dev").display().to_string();
    let mut dev = Process::start(home.command(&["dev", "--data-dir", &dir, "--listen", &listen, "--http", &http]));
    dev.wait_for_line("Ctrl-C stops").await;
    let piped = |arguments: &[&str], input: &str| with_input(home.command(arguments), input);
    ok(piped(&["register", "--organization", "acme", "--email", "ada@example.com"], "gxzpqrtv-ada\n"));
    let forgot = home.run(&FORGOT);
    assert!(forgot.code == 0 && forgot.err.contains("if there is such an account"), "{forgot:?}");
    let token = token_of(&dev.wait_for_line("ef_reset_").await);
    let weak = piped(&["password", "reset"], &format!("{token}\npassword1\n"));
    assert!(weak.code == 1 && weak.err.starts_with("error[INVALID_ARGUMENT]"), "{weak:?}");
    ok(piped(&["password", "reset"], &format!("{token}\nvtrqpzxg-ada\n")));
    let again = piped(&["password", "reset"], &format!("{token}\nvtrqpzxg-eve\n"));
    assert!(again.code == 1 && again.err.starts_with("error[INVITATION_INVALID]"), "{again:?}");
    ok(piped(&LOGIN_AGAIN, "vtrqpzxg-ada\n"));
    dev.signal(Signal::INT);
    assert!(dev.wait().await.success());
}

#[tokio::test]
async fn serve_sends_mail_over_tls_and_writes_no_secret_to_its_log() {
    let (home, database) = (Home::new(), Database::empty().await);
    let url = database.url();
    assert_eq!(home.run(&["migrate", "--database-url", &url]).code, 0);
    let authority = home.file("authority.pem", AUTHORITY).display().to_string();
    for (tls, scheme) in [(MailTls::FromTheStart, "smtps"), (MailTls::AfterStartTls, "smtp")] {
        let mail = MailServer::start_with_tls(tls, HERE, KEY).await;
        let [grpc, http]: [u16; 2] = free_ports();
        let mut serve = home.command(&["serve", "--allow-unsafe-durability"]);
        serve
            .env("SSL_CERT_FILE", &authority)
            .env("EVENTFLOW_DATABASE_URL", &url)
            .env("EVENTFLOW_SERVER_LISTEN", format!("127.0.0.1:{grpc}"))
            .env("EVENTFLOW_HTTP_LISTEN", format!("127.0.0.1:{http}"))
            .env("EVENTFLOW_ACCOUNTS_REGISTRATION", "open")
            .env("EVENTFLOW_LOG_LEVEL", "debug")
            .env("EVENTFLOW_MAIL_FROM", "EventFlow <no-reply@example.com>")
            .env("EVENTFLOW_MAIL_URL", format!("{scheme}://ada:p%40ss%20word@localhost:{}", mail.address().port()));
        let mut broker = Process::start(serve);
        broker.wait_for_line("serving").await;
        let address = format!("eventflow://127.0.0.1:{grpc}");
        let piped = |arguments: &[&str], input: &str| {
            with_input(home.command(&[arguments, &["--url", &address]].concat()), input)
        };
        let register = ["register", "--organization", "acme", "--email", "ada@example.com"];
        if tls == MailTls::FromTheStart {
            ok(piped(&register, "gxzpqrtv-ada\n"));
        }
        ok(piped(&FORGOT, ""));
        let letter = mail.letter(1).await;
        assert!(letter.encrypted && letter.login.as_deref() == Some(LOGIN), "{letter:?}");
        assert_eq!(letter.recipients, ["ada@example.com"]);
        let token = token_of(letter.text.lines().find(|line| line.contains("ef_reset_")).unwrap());
        ok(piped(&["password", "reset"], &format!("{token}\nvtrqpzxg-ada\n")));
        ok(piped(&LOGIN_AGAIN, "vtrqpzxg-ada\n"));
        broker.signal(Signal::TERM);
        assert!(broker.wait().await.success());
        let log = broker.lines().join("\n");
        for secret in [&token[9..], "p@ss word", "p%40ss", "vtrqpzxg", "gxzpqrtv"] {
            assert!(!log.contains(secret), "a secret is in the log");
        }
    }
}
