//! What stands behind a proxy: an address or a unix socket.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use eventflow_embedded::Connection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Where a proxy connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    /// `host:port`, resolved at each connection.
    Tcp(String),
    /// The path of a socket.
    Unix(PathBuf),
}

impl Upstream {
    /// Where the server of this connection listens.
    pub fn postgres(connection: &Connection) -> Upstream {
        if connection.host.starts_with('/') {
            let name = format!(".s.PGSQL.{}", connection.port);
            Upstream::Unix(PathBuf::from(&connection.host).join(name))
        } else {
            Upstream::Tcp(format!("{}:{}", connection.host, connection.port))
        }
    }

    pub(crate) async fn connect(&self) -> io::Result<Box<dyn Duplex>> {
        match self {
            Upstream::Tcp(address) => {
                let stream = TcpStream::connect(address.as_str()).await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Upstream::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        }
    }
}

impl From<SocketAddr> for Upstream {
    fn from(address: SocketAddr) -> Upstream {
        Upstream::Tcp(address.to_string())
    }
}

/// Both kinds of stream, seen as one.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {
    /// Makes the coming close an abrupt one.
    fn reset_on_close(&self);
}

impl Duplex for TcpStream {
    fn reset_on_close(&self) {
        // A stream that is gone already needs no reset.
        let _ = self.set_zero_linger();
    }
}

impl Duplex for UnixStream {
    /// Unix sockets know only one way of closing.
    fn reset_on_close(&self) {}
}
