//! Making the data directory, once.
//!
//! It is made beside its place and renamed into it, so an interrupted `initdb` leaves nothing that looks whole.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::service_user::{give, run_as};
use crate::{Binaries, Error, Result, ServiceUser};

/// The superuser of every private cluster, whatever the system's user is called.
pub(crate) const SUPERUSER: &str = "postgres";

/// The data directory of a cluster that lies in `actual`.
pub(crate) fn data_dir(actual: &Path) -> PathBuf {
    actual.join("postgres")
}

/// The major version that wrote the data, or `None` when there is no data yet.
pub(crate) fn data_version(data_dir: &Path) -> Result<Option<u32>> {
    let path = data_dir.join("PG_VERSION");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::at("read", &path)(error)),
    }
}

/// Makes the data and the password. UTF-8, the C locale (its sort order never changes with the system) and
/// checksums; sockets trust whoever can reach them, TCP asks for the password.
pub(crate) fn create(actual: &Path, user: Option<ServiceUser>, binaries: &Binaries) -> Result<()> {
    let unfinished = actual.join("postgres.unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(Error::at("remove", &unfinished))?;
    }
    fs::DirBuilder::new().mode(0o700).create(&unfinished).map_err(Error::at("create", &unfinished))?;
    give(&unfinished, user)?;
    let password_file = write_password(actual, user)?;
    let mut command = Command::new(binaries.program("initdb"));
    command
        .arg("--pgdata")
        .arg(&unfinished)
        .args(["--username", SUPERUSER, "--encoding", "UTF8", "--locale", "C"])
        .args(["--data-checksums", "--no-instructions"])
        .args(["--auth-local", "trust", "--auth-host", "scram-sha-256"])
        .arg("--pwfile")
        .arg(password_file);
    run(command, user)?;
    let data_dir = data_dir(actual);
    fs::rename(&unfinished, &data_dir).map_err(Error::at("finish", &data_dir))
}

/// The password for TCP, if this cluster was made here and not copied from another.
pub(crate) fn password(actual: &Path) -> Option<String> {
    let text = fs::read_to_string(password_path(actual)).ok()?;
    Some(text.trim().to_owned())
}

fn password_path(actual: &Path) -> PathBuf {
    actual.join("postgres.password")
}

fn write_password(actual: &Path, user: Option<ServiceUser>) -> Result<PathBuf> {
    let mut random = [0_u8; 24];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut random))
        .map_err(Error::io("read `/dev/urandom`"))?;
    let password: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = password_path(actual);
    let _ = fs::remove_file(&path);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| writeln!(file, "{password}"))
        .map_err(Error::at("write", &path))?;
    give(&path, user)?;
    Ok(path)
}

/// Runs one of the Postgres programs to its end as the server's user.
pub(crate) fn run(mut command: Command, user: Option<ServiceUser>) -> Result<()> {
    command.env("LC_ALL", "C").current_dir("/").stdin(Stdio::null());
    run_as(&mut command, user);
    let program = PathBuf::from(command.get_program());
    let output = command.output().map_err(Error::at("run", &program))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    Err(Error::Program { program: program.display().to_string(), output: lines.join("; ") })
}
