//! `[broker]`: who this broker is.

use super::{environment, reader::Reader};
use crate::domain::ids::check_member_name;

#[derive(Clone, Debug)]
pub struct Broker {
    /// Name in groups, leases and logs. Host name and process id unless set.
    pub name: String,
}

impl Broker {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let mut name = reader.text("broker.name");
        if name.is_empty() {
            name = made_up_name(&environment::host_name(), std::process::id());
        } else if check_member_name("name", &name).is_err() {
            reader.refuse("broker.name", format!("`{name}`"), "must be 1 to 128 letters, digits, `.`, `_`, `-`");
        }
        Self { name }
    }
}

/// `host-pid`, in the alphabet of names.
fn made_up_name(host: &str, process: u32) -> String {
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() || "._-".contains(letter) { letter } else { '-' }
    };
    let host: String = host.chars().take(100).map(plain).collect();
    if host.is_empty() { format!("broker-{process}") } else { format!("{host}-{process}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_up_name_is_a_name_whatever_the_host_is_called() {
        for host in ["db1.example.org", "", "smörgås bord", &"x".repeat(300)] {
            let name = made_up_name(host, 4_194_304);
            assert!(check_member_name("name", &name).is_ok(), "`{name}`");
        }
    }
}
