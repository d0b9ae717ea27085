//! The port of a proxy and who is let in.
//!
//! Refusing means that nobody listens: then the kernel refuses, as it does for a dead server. Meanwhile a bound
//! socket that never listens keeps the port from being taken by somebody else.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::connection;
use super::faults::Shared;
use crate::upstream::Upstream;

/// Connections that the kernel may hold before they are accepted.
const BACKLOG: u32 = 1024;

/// A port of 127.0.0.1 that stays ours as long as this value lives.
#[derive(Debug)]
pub(crate) struct Port {
    placeholder: TcpSocket,
    listener: Option<TcpListener>,
}

impl Port {
    /// A free port, listened on at once.
    pub(crate) fn reserve() -> Port {
        let reserved = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).and_then(|placeholder| {
            let mut port = Port { placeholder, listener: None };
            port.open()?;
            Ok(port)
        });
        reserved.unwrap_or_else(|error| panic!("could not reserve a port on 127.0.0.1: {error}"))
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.placeholder.local_addr().unwrap_or_else(|error| panic!("a bound socket has no address: {error}"))
    }

    /// The next client. While the port is closed, for ever.
    pub(crate) async fn accept(&self) -> io::Result<TcpStream> {
        let Some(listener) = &self.listener else {
            return std::future::pending().await;
        };
        let (client, _) = listener.accept().await?;
        client.set_nodelay(true)?;
        Ok(client)
    }

    fn open(&mut self) -> io::Result<()> {
        if self.listener.is_none() {
            self.listener = Some(bound(self.placeholder.local_addr()?)?.listen(BACKLOG)?);
        }
        Ok(())
    }

    fn close(&mut self) {
        self.listener = None;
    }
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Accepts until it is aborted; the connections end with it.
pub(super) async fn run(mut port: Port, upstream: Upstream, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    let mut faults = shared.faults.subscribe();
    loop {
        let refusing = faults.borrow_and_update().refusing;
        if refusing {
            port.close();
        } else if let Err(error) = port.open() {
            panic!("the proxy could not listen again: {error}");
        }
        shared.counters.send_modify(|counters| counters.listening = !refusing);
        tokio::select! {
            client = port.accept() => {
                // A client that is gone before it was accepted is no event.
                if let Ok(client) = client {
                    connections.spawn(connection::run(client, upstream.clone(), Arc::clone(&shared)));
                }
            }
            changed = faults.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
