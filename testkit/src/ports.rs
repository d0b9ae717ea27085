//! Ports that nobody uses.
//!
//! Inside the test process, bind a [`listener`] and hand it over: then there is no race. A child process can only
//! be told a number, and [`free_port`] never gives the same number twice.

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A bound listener on 127.0.0.1, at a port of the kernel's choice, ready for tokio.
pub fn listener() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.unwrap_or_else(|error| panic!("could not bind a port on 127.0.0.1: {error}"))
}

/// A port for a child process.
pub fn free_port() -> u16 {
    let [port] = free_ports();
    port
}

/// Several different ports for child processes.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let given = given.get_or_insert_default();
    // Held until all are chosen, so that the kernel cannot offer one twice.
    let mut held = Vec::new();
    std::array::from_fn(|_| {
        loop {
            let listener = listener();
            let port = listener.local_addr().map_or(0, |address| address.port());
            held.push(listener);
            if port != 0 && given.insert(port) {
                return port;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_different_and_can_be_bound() {
        let ports: [u16; 8] = free_ports();
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), 8);
        TcpListener::bind(("127.0.0.1", ports[0])).unwrap();
    }
}
