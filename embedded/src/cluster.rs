//! One private cluster: prepare, start, stop, resume.
//!
//! A [`Cluster`] owns its directory (by `directory_lock`) from [`Cluster::prepare`] until it is dropped, whether
//! the server runs or not. Dropping it stops the server.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use crate::binaries::Version;
use crate::directory_lock::DirectoryLock;
use crate::server::{Server, Stop};
use crate::{Binaries, Connection, Error, Options, Placement, Result, ServiceUser, Settings};
use crate::{guard, initdb, postmaster, socket_dir};

/// The port that names the socket when no TCP port is asked for.
const SOCKET_PORT: u16 = 5432;

/// A private Postgres in its directory.
#[derive(Debug)]
pub struct Cluster {
    options: Options,
    placement: Placement,
    binaries: Binaries,
    user: Option<ServiceUser>,
    server: Option<Server>,
    // Last, so that the directory is free only when the server is gone.
    _lock: DirectoryLock,
}

impl Cluster {
    /// Chooses place and binaries, takes the directory, and makes the data unless it is there already.
    pub fn prepare(options: Options) -> Result<Cluster> {
        let user = ServiceUser::for_this_process()?;
        let installed = options.search.find_all()?;
        let placement = Placement::choose(&options.dir, &options.relocation_root, user, &installed[0])?;
        let lock = DirectoryLock::take(&placement.actual)?;
        let data_dir = initdb::data_dir(&placement.actual);
        let binaries = match initdb::data_version(&data_dir)? {
            Some(major) => of_version(&data_dir, major, &installed)?,
            None => {
                initdb::create(&placement.actual, user, &installed[0])?;
                installed[0].clone()
            }
        };
        Ok(Cluster { options, placement, binaries, user, server: None, _lock: lock })
    }

    /// Starts the server and returns when it accepts connections. Does nothing when it runs already.
    pub fn start(&mut self) -> Result<()> {
        if self.pid().is_some() {
            return Ok(());
        }
        self.server = None;
        self.accept_minor_upgrade()?;
        postmaster::wait_until_gone(&self.data_dir())?;
        if let Some(port) = self.options.tcp_port {
            TcpListener::bind(("127.0.0.1", port)).map_err(|_| Error::PortTaken { port })?;
        }
        socket_dir::ensure(&self.socket_dir(), self.user)?;
        let postgres = self.binaries.program("postgres");
        let mut command = guard::command(self.options.guard, &postgres, self.user)?;
        command.args(self.arguments());
        let mut server = Server::spawn(command, &postgres, self.log_path())?;
        let ready = server.wait_until_ready(&self.data_dir(), self.options.start_timeout);
        match ready {
            Ok(()) => {
                self.server = Some(server);
                Ok(())
            }
            Err(error) => {
                server.stop(Stop::Immediate)?;
                Err(self.explained(error))
            }
        }
    }

    /// Stops the server and returns when all of it is gone. Takes the next harder way when one takes too long.
    pub fn stop(&mut self, how: Stop) -> Result<()> {
        match self.server.take() {
            Some(server) => server.stop(how),
            None => Ok(()),
        }
    }

    /// Stops and starts.
    pub fn restart(&mut self, how: Stop) -> Result<()> {
        self.stop(how)?;
        self.start()
    }

    /// SIGSTOP to every process of the server, for tests of what a silent database does to others.
    pub fn freeze(&mut self) -> Result<()> {
        self.server.as_mut().map_or(Ok(()), Server::freeze)
    }

    /// Lets a frozen server go on.
    pub fn thaw(&mut self) -> Result<()> {
        self.server.as_mut().map_or(Ok(()), Server::thaw)
    }

    /// The server's process id while it runs.
    pub fn pid(&mut self) -> Option<u32> {
        self.server.as_mut()?.pid()
    }

    /// How the server ended, if it ended by itself.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.server.as_mut()?.exit_status()
    }

    /// Tells whether the running server's binaries are still the installed ones. When a package upgrade has
    /// replaced them, new sessions can fail in odd ways: ask when connections begin to fail.
    pub fn check_binaries(&self) -> Result<()> {
        let postgres = self.binaries.program("postgres");
        match &self.server {
            Some(server) if !server.runs_from(&postgres) => Err(self.replaced(Version::of(&postgres))),
            _ => Ok(()),
        }
    }

    /// Over the unix socket, as the superuser.
    #[must_use]
    pub fn connection(&self) -> Connection {
        Connection {
            host: self.socket_dir().display().to_string(),
            port: self.port(),
            user: initdb::SUPERUSER.into(),
            password: None,
            database: "postgres".into(),
        }
    }

    /// Over TCP, with the password, if a TCP port was asked for.
    #[must_use]
    pub fn tcp_connection(&self) -> Option<Connection> {
        self.options.tcp_port.map(|port| Connection {
            host: "127.0.0.1".into(),
            port,
            password: initdb::password(&self.placement.actual),
            ..self.connection()
        })
    }

    /// [`Cluster::connection`] as a URL.
    #[must_use]
    pub fn connection_url(&self) -> String {
        self.connection().url()
    }

    /// Where the cluster was asked to be, and where it is.
    #[must_use]
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// The binaries it runs on.
    #[must_use]
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The server's data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        initdb::data_dir(&self.placement.actual)
    }

    /// The server's log.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.placement.actual.join("postgres.log")
    }

    /// The user that the server runs as, if it is not our own.
    #[must_use]
    pub fn service_user(&self) -> Option<ServiceUser> {
        self.user
    }

    /// The settings that the next start will use.
    pub fn settings_mut(&mut self) -> &mut Settings {
        &mut self.options.settings
    }

    /// Runs one of the Postgres programs, such as `pg_basebackup`, to its end as the server's user.
    pub fn run_program<I, S>(&self, name: &str, args: I) -> Result<()>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new(self.binaries.program(name));
        command.args(args);
        initdb::run(command, self.user)
    }

    fn port(&self) -> u16 {
        self.options.tcp_port.unwrap_or(SOCKET_PORT)
    }

    fn socket_dir(&self) -> PathBuf {
        let runtime_dir = self.options.runtime_dir.as_deref();
        socket_dir::choose(&self.placement.actual, runtime_dir, self.user)
    }

    /// Settings stand on the command line, so that the data directory holds none of its own to disagree.
    fn arguments(&self) -> Vec<String> {
        let listen = self.options.tcp_port.map_or("", |_| "127.0.0.1");
        let port = self.port().to_string();
        let socket_dir = format!("\"{}\"", self.socket_dir().display());
        let own =
            [("listen_addresses", listen), ("port", port.as_str()), ("unix_socket_directories", socket_dir.as_str())];
        let mut arguments = vec!["-D".to_owned(), self.data_dir().display().to_string()];
        for (name, value) in self.options.settings.iter().chain(own) {
            arguments.push("-c".to_owned());
            arguments.push(format!("{name}={value}"));
        }
        arguments
    }

    /// Between two starts a minor upgrade is welcome; a major one cannot read the data.
    fn accept_minor_upgrade(&mut self) -> Result<()> {
        match Version::of(&self.binaries.program("postgres")) {
            Some(version) if version.major == self.binaries.version.major => {
                self.binaries.version = version;
                Ok(())
            }
            other => Err(self.replaced(other)),
        }
    }

    fn replaced(&self, installed: Option<Version>) -> Error {
        Error::BinariesReplaced {
            dir: self.binaries.dir.clone(),
            started: self.binaries.version.text.clone(),
            installed: installed.map(|version| version.text),
        }
    }

    /// Somebody may take the port between our look and the server's.
    fn explained(&self, error: Error) -> Error {
        match (&error, self.options.tcp_port) {
            (Error::Exited { tail, .. }, Some(port)) if tail.contains("could not bind") => Error::PortTaken { port },
            _ => error,
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.stop(Stop::Fast);
    }
}

fn of_version(data_dir: &Path, major: u32, installed: &[Binaries]) -> Result<Binaries> {
    let fitting = installed.iter().find(|binaries| binaries.version.major == major);
    fitting.cloned().ok_or_else(|| Error::WrongVersion {
        data_dir: data_dir.to_path_buf(),
        data: major,
        installed: installed.iter().map(|binaries| binaries.version.major).collect(),
    })
}
