//! Which network addresses are never connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metadata services of clouds that are not link-local: Amazon's over IPv6, Alibaba's, Oracle's.
const METADATA: [IpAddr; 3] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// What makes an address forbidden, if anything; loopback and private networks are allowed.
pub(crate) fn fault_of(address: IpAddr) -> Option<&'static str> {
    let address = embedded(address);
    if METADATA.contains(&address) {
        Some("a cloud's metadata service")
    } else if address.is_unspecified() {
        Some("the unspecified address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else {
        match address {
            IpAddr::V4(v4) if v4.is_link_local() => Some("a link-local address"),
            IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address"),
            // 0.0.0.0/8, "this network": Linux takes some of it for loopback.
            IpAddr::V4(v4) if v4.octets()[0] == 0 => Some("an address of \"this network\""),
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("a link-local address"),
            _ => None,
        }
    }
}

/// The IPv4 address inside an IPv6 one (mapped, compatible or NAT64), or the address itself.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let is_nat64 = [a, b, c, d, e, f] == [0x64, 0xff9b, 0, 0, 0, 0];
    let is_compatible = [a, b, c, d, e, f] == [0; 6] && g != 0;
    if is_nat64 || is_compatible {
        let ([g1, g2], [h1, h2]) = (g.to_be_bytes(), h.to_be_bytes());
        return IpAddr::V4(Ipv4Addr::new(g1, g2, h1, h2));
    }
    v6.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_and_the_like_are_forbidden_in_every_disguise() {
        for text in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "::ffff:0.0.0.0",
        ] {
            assert!(fault_of(text.parse().unwrap()).is_some(), "{text}");
        }
    }

    #[test]
    fn loopback_and_ordinary_addresses_are_allowed() {
        for text in ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "8.8.8.8", "2001:db8::1"] {
            assert_eq!(fault_of(text.parse().unwrap()), None, "{text}");
        }
    }
}
