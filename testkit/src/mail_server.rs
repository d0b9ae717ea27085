//! A mail server that keeps what it is given, or does not take it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::within::within;

/// What becomes of letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Takes,
    /// Of each recipient it says that there is none.
    Refuses,
    /// So many letters are put off, the next ones are taken.
    Busy(usize),
    /// It accepts connections and says nothing.
    Silent,
}

/// When the conversation is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    FromTheStart,
    /// It says nothing of logins before.
    AfterStartTls,
}

/// A letter as it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenMail {
    pub recipients: Vec<String>,
    /// What `AUTH PLAIN` said, in base64.
    pub login: Option<String>,
    pub encrypted: bool,
    /// Head and text, lines ended by `\n`.
    pub text: String,
}

/// A server on a port of this machine. It is gone when the value is dropped.
#[derive(Debug)]
pub struct MailServer {
    address: SocketAddr,
    taken: watch::Receiver<Vec<TakenMail>>,
    attempts: watch::Receiver<usize>,
    task: tokio::task::AbortHandle,
}

struct Desk {
    manner: Mutex<Manner>,
    tls: Option<(TlsAcceptor, MailTls)>,
    taken: watch::Sender<Vec<TakenMail>>,
    attempts: watch::Sender<usize>,
}

impl MailServer {
    /// In plaintext.
    pub async fn start(manner: Manner) -> MailServer {
        MailServer::open(manner, None).await
    }

    /// With a certificate and its key, in PEM.
    pub async fn start_with_tls(tls: MailTls, certificate: &str, key: &str) -> MailServer {
        MailServer::open(Manner::Takes, Some((acceptor(certificate, key), tls))).await
    }

    async fn open(manner: Manner, tls: Option<(TlsAcceptor, MailTls)>) -> MailServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap_or_else(|error| panic!("no port: {error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("no address: {error}"));
        let (taken, letters) = watch::channel(Vec::new());
        let (tries, attempts) = watch::channel(0);
        let desk = Arc::new(Desk { manner: Mutex::new(manner), tls, taken, attempts: tries });
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                desk.attempts.send_modify(|attempts| *attempts += 1);
                let desk = desk.clone();
                tokio::spawn(async move {
                    // Whoever hangs up half-way is noticed by what is missing.
                    let _ = desk.serve(stream).await;
                });
            }
        });
        MailServer { address, taken: letters, attempts, task: task.abort_handle() }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As the setting `mail.url` has it, without TLS.
    pub fn url(&self) -> String {
        format!("smtp://{}?tls=off", self.address)
    }

    /// All letters that were taken so far.
    pub fn letters(&self) -> Vec<TakenMail> {
        self.taken.borrow().clone()
    }

    /// Waits until so many letters were taken; answers the last of them.
    pub async fn letter(&self, number: usize) -> TakenMail {
        let mut taken = self.taken.clone();
        let enough = taken.wait_for(|taken| taken.len() >= number);
        match within(&format!("letter {number}"), enough).await {
            Ok(taken) => taken[number - 1].clone(),
            Err(_) => panic!("the mail server has gone"),
        }
    }

    /// Waits for a letter to somebody.
    pub async fn letter_to(&self, recipient: &str) -> TakenMail {
        let to = |letter: &&TakenMail| letter.recipients.iter().any(|to| to == recipient);
        let what = format!("a letter to {recipient}");
        let mut taken = self.taken.clone();
        let waited = within(&what, taken.wait_for(|taken| taken.iter().any(|letter| to(&letter)))).await;
        match waited.ok().and_then(|taken| taken.iter().find(to).cloned()) {
            Some(letter) => letter,
            None => panic!("the mail server has gone"),
        }
    }

    /// Waits until somebody has connected so many times.
    pub async fn attempts(&self, number: usize) {
        let mut attempts = self.attempts.clone();
        if within(&format!("attempt {number}"), attempts.wait_for(|attempts| *attempts >= number)).await.is_err() {
            panic!("the mail server has gone");
        }
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Desk {
    async fn serve(&self, stream: TcpStream) -> io::Result<()> {
        match &self.tls {
            None => self.talk(&mut BufStream::new(stream), None).await.map(drop),
            Some((acceptor, MailTls::FromTheStart)) => {
                let stream = acceptor.accept(stream).await?;
                self.talk(&mut BufStream::new(stream), Some(true)).await.map(drop)
            }
            Some((acceptor, MailTls::AfterStartTls)) => {
                let mut plain = BufStream::new(stream);
                if self.talk(&mut plain, Some(false)).await? == End::StartTls {
                    let stream = acceptor.accept(plain.into_inner()).await?;
                    self.commands(&mut BufStream::new(stream), Some(true)).await?;
                }
                Ok(())
            }
        }
    }

    async fn talk(
        &self,
        stream: &mut (impl AsyncBufReadExt + AsyncWrite + Unpin),
        encrypted: Option<bool>,
    ) -> io::Result<End> {
        if *self.manner.lock().unwrap_or_else(PoisonError::into_inner) == Manner::Silent {
            std::future::pending::<()>().await;
        }
        say(stream, "220 localhost").await?;
        self.commands(stream, encrypted).await
    }

    /// Commands until the end. `encrypted` is `Some(false)` before STARTTLS.
    async fn commands(
        &self,
        stream: &mut (impl AsyncBufReadExt + AsyncWrite + Unpin),
        encrypted: Option<bool>,
    ) -> io::Result<End> {
        let blank =
            TakenMail { recipients: Vec::new(), login: None, encrypted: encrypted == Some(true), text: String::new() };
        let mut letter = blank.clone();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(End::Gone);
            }
            let line = line.trim_end();
            match line.split(' ').next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "EHLO" if encrypted == Some(false) => say(stream, "250-localhost\r\n250 STARTTLS").await?,
                "EHLO" => say(stream, "250-localhost\r\n250 AUTH PLAIN").await?,
                "STARTTLS" => {
                    say(stream, "220 go on").await?;
                    return Ok(End::StartTls);
                }
                "AUTH" => {
                    letter.login = line.split(' ').nth(2).map(str::to_owned);
                    say(stream, "235 welcome").await?;
                }
                "RCPT" => match self.verdict() {
                    Some(refusal) => say(stream, refusal).await?,
                    None => {
                        let address = line.split(['<', '>']).nth(1).unwrap_or_default();
                        letter.recipients.push(address.to_owned());
                        say(stream, "250 ok").await?;
                    }
                },
                "DATA" => {
                    say(stream, "354 go on").await?;
                    letter.text = text(stream).await?;
                    let taken = std::mem::replace(&mut letter, blank.clone());
                    self.taken.send_modify(|letters| letters.push(taken));
                    say(stream, "250 taken").await?;
                }
                "QUIT" => {
                    say(stream, "221 bye").await?;
                    return Ok(End::Gone);
                }
                _ => say(stream, "250 ok").await?,
            }
        }
    }

    /// What is said instead of taking a letter.
    fn verdict(&self) -> Option<&'static str> {
        let mut manner = self.manner.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *manner {
            Manner::Refuses => Some("550 5.1.1 nobody of that name"),
            Manner::Busy(left) if *left > 0 => {
                *left -= 1;
                Some("451 4.3.0 come back later")
            }
            _ => None,
        }
    }
}

/// What speaks TLS with this certificate and its key, in PEM.
pub(crate) fn acceptor(certificate: &str, key: &str) -> TlsAcceptor {
    let chain: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
    let (Ok(chain), Ok(key)) = (chain, key) else { panic!("the server's certificate cannot be read") };
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    let config = config.unwrap_or_else(|error| panic!("the server's certificate does not work: {error}"));
    TlsAcceptor::from(Arc::new(config))
}

#[derive(PartialEq, Eq)]
enum End {
    Gone,
    StartTls,
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), line: &str) -> io::Result<()> {
    stream.write_all(format!("{line}\r\n").as_bytes()).await?;
    stream.flush().await
}

/// Lines up to the lonely dot, without the dots that were put before dots.
async fn text(stream: &mut (impl AsyncBufReadExt + AsyncRead + Unpin)) -> io::Result<String> {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end_matches(['\r', '\n']);
        match line.strip_prefix('.') {
            Some("") => return Ok(text),
            Some(rest) => text += &format!("{rest}\n"),
            None => text += &format!("{line}\n"),
        }
    }
}
