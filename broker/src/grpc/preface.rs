//! The first bytes of a connection: what does the peer speak?
//!
//! They are read before hyper sees the connection, so that one who never says anything, or says TLS to a plaintext port, costs
//! a timer and nothing else. Where the port speaks TLS they are read behind its handshake, under the same timeout.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

const HTTP2: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// First bytes of a TLS record that holds a handshake: type 22, major version 3.
const TLS: [u8; 2] = [0x16, 0x03];

/// What the first bytes were.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Preface {
    /// HTTP, of either version; these bytes were read already.
    Http(Vec<u8>),
    Tls,
    /// The peer closed.
    Closed,
}

/// Reads until the protocol is known: at most 24 bytes.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Preface> {
    let mut bytes = Vec::with_capacity(HTTP2.len());
    while bytes.len() < HTTP2.len() && HTTP2.starts_with(&bytes) {
        let room = (HTTP2.len() - bytes.len()) as u64;
        if (&mut *stream).take(room).read_buf(&mut bytes).await? == 0 {
            return Ok(Preface::Closed);
        }
        // One byte of TLS is enough: no HTTP method starts with 22.
        if bytes[0] == TLS[0] && bytes.get(1).is_none_or(|byte| *byte == TLS[1]) {
            return Ok(Preface::Tls);
        }
    }
    Ok(Preface::Http(bytes))
}

/// A stream whose first bytes were read already.
pub(super) struct Prefixed<S> {
    first: Vec<u8>,
    given: usize,
    stream: S,
}

impl<S> Prefixed<S> {
    pub(super) fn new(first: Vec<u8>, stream: S) -> Self {
        Self { first, given: 0, stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.given < this.first.len() {
            let part = &this.first[this.given..];
            let length = part.len().min(buffer.remaining());
            buffer.put_slice(&part[..length]);
            this.given += length;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn first(bytes: &[u8]) -> Preface {
        read(&mut &*bytes).await.expect("readable")
    }

    #[tokio::test]
    async fn the_first_bytes_tell_what_the_peer_speaks() {
        assert_eq!(first(HTTP2).await, Preface::Http(HTTP2.to_vec()));
        assert_eq!(first(b"GET / HTTP/1.1\r\n\r\n").await, Preface::Http(b"GET / HTTP/1.1\r\n\r\n"[..18].to_vec()));
        assert_eq!(first(b"POST / HTTP/1.1\r\n").await, Preface::Http(b"POST / HTTP/1.1\r\n".to_vec()));
        assert_eq!(first(&[0x16, 0x03, 0x01, 0x02, 0x00]).await, Preface::Tls);
        assert_eq!(first(b"").await, Preface::Closed);
        assert_eq!(first(b"PRI * HT").await, Preface::Closed);
    }

    #[tokio::test]
    async fn nothing_read_is_lost() {
        let mut prefixed = Prefixed::new(b"PRI ".to_vec(), &b"* HTTP/2.0"[..]);
        let mut text = String::new();
        prefixed.read_to_string(&mut text).await.expect("readable");
        assert_eq!(text, "PRI * HTTP/2.0");
    }
}
