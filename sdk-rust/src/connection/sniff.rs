//! Listens to the first byte that a server says, to tell people what they have really connected to.
//!
//! TLS begins with a handshake (0x16) or alert (0x15) record, HTTP/2 with the length of a SETTINGS frame (0x00), HTTP/1 with
//! `HTTP/`. Waiting for that byte also tells a broker that accepts connections from one that is stopped behind its kernel's
//! queue.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
};

/// What the server said first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Nothing,
    Tls,
    Http2,
    SomethingElse,
}

impl Heard {
    fn of(first: u8) -> Self {
        match first {
            0x15 | 0x16 => Self::Tls,
            0x00 => Self::Http2,
            _ => Self::SomethingElse,
        }
    }
}

/// A TCP connection that reports its first byte.
pub(super) struct Sniffed {
    tcp: TcpStream,
    /// Taken when the first byte has come.
    report: Option<watch::Sender<Heard>>,
}

impl Sniffed {
    pub(super) fn new(tcp: TcpStream) -> (Self, watch::Receiver<Heard>) {
        let (report, heard) = watch::channel(Heard::Nothing);
        (Self { tcp, report: Some(report) }, heard)
    }

    fn hear(&mut self, first: u8) {
        if let Some(report) = self.report.take() {
            report.send_replace(Heard::of(first));
        }
    }

    /// A server that hangs up may have said why before; writing to it fails first.
    fn listen_once_more(&mut self, written: &Poll<io::Result<usize>>) {
        let mut first = [0];
        if self.report.is_some()
            && matches!(written, Poll::Ready(Err(_)))
            && matches!(self.tcp.try_read(&mut first), Ok(1))
        {
            self.hear(first[0]);
        }
    }
}

impl AsyncRead for Sniffed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.tcp).poll_read(cx, buf);
        if let Some(first) = buf.filled().get(before).copied() {
            self.hear(first);
        }
        polled
    }
}

impl AsyncWrite for Sniffed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.tcp).poll_write(cx, buf);
        self.listen_once_more(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs);
        self.listen_once_more(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
