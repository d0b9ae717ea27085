//! A receiver of webhooks that keeps what is posted to it, and answers as it is told.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::mail_server::acceptor;
use crate::within::within;

/// What a post is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Status(u16),
    /// With a body that says this.
    Says(u16, String),
    /// That it is elsewhere.
    Redirect(String),
    /// Nothing, until [`WebhookReceiver::release`]; then that there was an error.
    Hang,
}

/// What was posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenPost {
    /// Method and path.
    pub line: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// A receiver on a port of this machine. It is gone when the value is dropped.
#[derive(Debug)]
pub struct WebhookReceiver {
    address: SocketAddr,
    scheme: &'static str,
    desk: Arc<Desk>,
    task: tokio::task::AbortHandle,
}

#[derive(Debug)]
struct Desk {
    replies: Mutex<VecDeque<Reply>>,
    /// When there are no more replies.
    default: Reply,
    taken: watch::Sender<Vec<TakenPost>>,
    /// Connections so far, open ones, and the most that were open at once.
    connections: watch::Sender<(usize, usize, usize)>,
    released: watch::Sender<bool>,
}

impl WebhookReceiver {
    /// Gives these replies in their order, then says 200.
    pub async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::open(replies.into_iter().collect(), Reply::Status(200), None).await
    }

    /// Always gives this reply.
    pub async fn that_always(reply: Reply) -> Self {
        Self::open(VecDeque::new(), reply, None).await
    }

    /// Says 200 over TLS, with a certificate and its key in PEM.
    pub async fn start_with_tls(certificate: &str, key: &str) -> Self {
        Self::open(VecDeque::new(), Reply::Status(200), Some(acceptor(certificate, key))).await
    }

    async fn open(replies: VecDeque<Reply>, default: Reply, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap_or_else(|error| panic!("no port: {error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("no address: {error}"));
        let desk = Arc::new(Desk {
            replies: Mutex::new(replies),
            default,
            taken: watch::Sender::new(Vec::new()),
            connections: watch::Sender::new((0, 0, 0)),
            released: watch::Sender::new(false),
        });
        let scheme = if tls.is_some() { "https" } else { "http" };
        let serving = desk.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (desk, tls) = (serving.clone(), tls.clone());
                tokio::spawn(async move {
                    desk.connections.send_modify(|(all, open, most)| {
                        (*all, *open) = (*all + 1, *open + 1);
                        *most = (*most).max(*open);
                    });
                    // Whoever hangs up half-way is noticed by what is missing.
                    let _ = match tls {
                        None => desk.serve(stream).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => desk.serve(stream).await,
                            Err(error) => Err(error),
                        },
                    };
                    desk.connections.send_modify(|(_, open, _)| *open -= 1);
                });
            }
        });
        Self { address, scheme, desk, task: task.abort_handle() }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it is posted to, by its address.
    pub fn url(&self) -> String {
        format!("{}://{}/hook?a=b", self.scheme, self.address)
    }

    /// All that was posted so far.
    pub fn posts(&self) -> Vec<TakenPost> {
        self.desk.taken.borrow().clone()
    }

    /// Waits until so much was posted; answers the last of it.
    pub async fn post(&self, number: usize) -> TakenPost {
        let mut taken = self.desk.taken.subscribe();
        let enough = taken.wait_for(|taken| taken.len() >= number);
        match within(&format!("post {number}"), enough).await {
            Ok(taken) => taken[number - 1].clone(),
            Err(_) => panic!("the receiver has gone"),
        }
    }

    /// How often somebody has connected, and how many were connected at most at once.
    pub fn connections(&self) -> (usize, usize) {
        let (all, _, most) = *self.desk.connections.borrow();
        (all, most)
    }

    /// Answers 500 to all that hang.
    pub fn release(&self) {
        self.desk.released.send_replace(true);
    }
}

impl Drop for WebhookReceiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Desk {
    async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let mut stream = BufStream::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let mut headers = BTreeMap::new();
        loop {
            let mut header = String::new();
            if stream.read_line(&mut header).await? == 0 {
                return Ok(());
            }
            let Some((name, value)) = header.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
        let body = String::from_utf8_lossy(&body).into_owned();
        let reply = self.replies.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        self.taken.send_modify(|posts| posts.push(TakenPost { line, headers, body }));
        let (status, location, text) = match reply.unwrap_or_else(|| self.default.clone()) {
            Reply::Status(status) => (status, String::new(), String::new()),
            Reply::Says(status, text) => (status, String::new(), text),
            Reply::Redirect(url) => (307, format!("location: {url}\r\n"), String::new()),
            Reply::Hang => {
                let _ = self.released.subscribe().wait_for(|released| *released).await;
                (500, String::new(), String::new())
            }
        };
        let length = text.len();
        let answer = format!("HTTP/1.1 {status} as told\r\n{location}content-length: {length}\r\n\r\n{text}");
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await
    }
}
