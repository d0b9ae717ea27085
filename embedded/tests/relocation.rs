//! Under root, a directory that the server's user cannot reach: the cluster lies elsewhere, and no mode changes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use eventflow_embedded::Cluster;
use support::{options, query, scratch};

#[test]
fn a_private_home_gets_a_pointer_and_keeps_its_mode() {
    let home = scratch();
    fs::set_permissions(home.path(), Permissions::from_mode(0o700)).unwrap();
    let (dir, elsewhere) = (home.path().join("project/.eventflow"), scratch());
    let options = || {
        let mut options = options(&dir);
        options.relocation_root = elsewhere.path().to_path_buf();
        options
    };
    let mut cluster = Cluster::prepare(options()).unwrap();
    let placement = cluster.placement().clone();
    if cluster.service_user().is_none() {
        // Not root: the server is ourselves and can go wherever we can.
        assert!(!placement.relocated);
        return;
    }
    assert!(placement.relocated && placement.actual.starts_with(elsewhere.path()));
    let pointer = fs::read_to_string(dir.join("postgres.pointer")).unwrap();
    assert_eq!(pointer.trim(), placement.actual.to_str().unwrap());
    let mode = fs::metadata(home.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);

    cluster.start().unwrap();
    query(&cluster.connection(), "create table kept ()").unwrap();
    drop(cluster);
    let mut cluster = Cluster::prepare(options()).unwrap();
    assert_eq!(cluster.placement(), &placement);
    cluster.start().unwrap();
    query(&cluster.connection(), "select from kept").unwrap();
}
