//! A private Postgres made from the installed binaries, for `eventflow dev` and for tests.
//!
//! The room promises three things: a second start resumes the same data, nobody's permissions are changed, and
//! on Linux no Postgres outlives the process that started it, not even after SIGKILL. It never downloads
//! anything, never reads the environment (what it needs comes in through [`Options`] and [`Search`]), and never
//! runs Postgres as root. Every call blocks: from async code, call it through `spawn_blocking`.
//!
//! ```no_run
//! # fn main() -> Result<(), eventflow_embedded::Error> {
//! use eventflow_embedded::{Cluster, Options, Search, Stop};
//! let search = Search::default().path(std::env::var_os("PATH"));
//! let mut cluster = Cluster::prepare(Options::new(".eventflow", search))?;
//! cluster.start()?;
//! let url = cluster.connection_url();
//! cluster.stop(Stop::Fast)?;
//! # let _ = url; Ok(()) }
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod binaries;
mod cluster;
mod connection;
mod directory_lock;
mod error;
mod guard;
mod initdb;
mod options;
mod placement;
mod postmaster;
mod server;
mod service_user;
mod socket_dir;
mod spawner;

pub use binaries::{Binaries, OLDEST_MAJOR, Search, Version};
pub use cluster::Cluster;
pub use connection::Connection;
pub use error::Error;
pub use guard::{GUARD_ARG, Guard, dies_with_parent, run_guard_if_asked};
pub use options::{Options, Settings};
pub use placement::{Placement, RELOCATION_ROOT};
pub use server::Stop;
pub use service_user::ServiceUser;

/// What every fallible call here returns.
pub type Result<T> = std::result::Result<T, Error>;
