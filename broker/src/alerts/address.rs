//! Which addresses a webhook may have: what a name leads to is nobody's word but its owner's, who may be an attacker.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far webhooks may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Addresses of the internet.
    Public,
    /// Also private networks and this machine.
    PrivateToo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Public,
    /// Of a private network, or this machine.
    Private,
    /// What no webhook has: link-local addresses and others at which clouds tell their machines secrets, multicast, what stands for
    /// an address of the other family, what is reserved.
    Never,
}

/// Where clouds tell their machines secrets, beside 169.254.169.254 and other link-local addresses.
const METADATA_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(100, 100, 100, 200)];
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

impl Reach {
    /// Whether a webhook may be at this address.
    pub(super) fn covers(self, address: IpAddr) -> bool {
        let kind = match address {
            IpAddr::V4(address) => kind_v4(address),
            IpAddr::V6(address) => kind_v6(address),
        };
        kind == Kind::Public || (kind == Kind::Private && self == Self::PrivateToo)
    }
}

fn kind_v4(address: Ipv4Addr) -> Kind {
    if METADATA_V4.contains(&address) {
        return Kind::Never;
    }
    match address.octets() {
        [10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] | [198, 18 | 19, ..] => {
            Kind::Private
        }
        // This network, link-local, protocol assignments, documentation, relays of 6to4, multicast, reserved, broadcast.
        [0, ..] | [169, 254, ..] | [192, 0, 0 | 2, _] | [192, 88, 99, _] => Kind::Never,
        [198, 51, 100, _] | [203, 0, 113, _] | [224..=255, ..] => Kind::Never,
        _ => Kind::Public,
    }
}

fn kind_v6(address: Ipv6Addr) -> Kind {
    if METADATA_V6.contains(&address) {
        return Kind::Never;
    }
    match address.segments() {
        [0xfc00..=0xfdff, ..] | [0, 0, 0, 0, 0, 0, 0, 1] => Kind::Private,
        // Protocol assignments (Teredo among them), documentation, 6to4: global by their prefix, but not to be trusted as such.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => Kind::Never,
        [0x2000..=0x3fff, ..] => Kind::Public,
        // Unspecified, addresses that stand for IPv4 ones (mapped, compatible, NAT64), link-local, multicast, and all that nobody has.
        _ => Kind::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(reach: Reach, address: &str) -> bool {
        reach.covers(address.parse().expect(address))
    }

    #[test]
    fn addresses_of_the_internet_are_reached() {
        for public in
            ["1.1.1.1", "93.184.215.14", "172.32.0.1", "100.63.0.1", "2606:4700::1111", "2a00:1450:4001::200e"]
        {
            assert!(covers(Reach::Public, public) && covers(Reach::PrivateToo, public), "{public}");
        }
    }

    #[test]
    fn private_addresses_and_this_machine_are_reached_only_where_it_is_allowed() {
        for private in [
            "127.0.0.1",
            "127.255.255.254",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "198.18.0.1",
            "::1",
            "fc00::1",
            "fd12:3456::1",
        ] {
            assert!(!covers(Reach::Public, private) && covers(Reach::PrivateToo, private), "{private}");
        }
    }

    #[test]
    fn metadata_multicast_and_what_stands_for_another_address_are_never_reached() {
        for never in [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.0.1",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "192.88.99.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:1.1.1.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "100::1",
        ] {
            assert!(!covers(Reach::Public, never) && !covers(Reach::PrivateToo, never), "{never}");
        }
    }
}
