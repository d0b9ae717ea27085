//! No file descriptors left: the accept loop waits until somebody goes, and lives.

use super::{fixture::Server, wire::PATIENCE};
use eventflow_broker::telemetry::metrics;
use rustix::process::{Resource, getrlimit};
use std::{fs::File, process::Command};
use tokio::{net::TcpStream, time::timeout};

const FEW: u64 = 48;

/// The limit concerns a whole process, so the test has one of its own.
#[test]
fn running_out_of_file_descriptors_stops_nothing_for_good() {
    let this = std::env::current_exe().expect("this test binary");
    let inside = "transport::exhausted::with_few_file_descriptors";
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("ulimit -n {FEW} && exec \"$0\" --exact \"$1\""))
        .arg(this)
        .arg(inside)
        .status()
        .expect("a shell");
    assert!(status.success(), "{inside} failed: see above");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_few_file_descriptors() {
    let limit = getrlimit(Resource::Nofile).current;
    if limit.is_none_or(|limit| limit > FEW) {
        // In the process of the other tests: the one above starts another.
        return;
    }
    let server = Server::start().await;
    // Both ends of a connection are in this process: of all descriptors one is left, and the client takes it.
    let mut files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    files.pop();
    let held = TcpStream::connect(server.address).await.expect("the last descriptor");
    // poll: the accept loop has to run into it first.
    let exhausted = async {
        while metrics::render().contains("eventflow_accept_errors_total 0") {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, exhausted).await.expect("accept has failed");
    drop((held, files));
    // poll: the descriptors have to be given back.
    let room = async { while TcpStream::connect(server.address).await.is_err() {} };
    timeout(PATIENCE, room).await.expect("room again");
    server.serves_others().await;
    server.stop().await;
}
