//! The form of an address that counts as one client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 addresses count as they are, even if they are mapped into IPv6 or translated to it by the well-known prefix (RFC
/// 6052, section 2.1). IPv6 addresses count by their /64, as a subscriber usually has all of it.
pub(crate) fn canonical(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address.to_canonical() else { return address.to_canonical() };
    match v6.segments() {
        [0x64, 0xFF9B, 0, 0, 0, 0, high, low] => Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)).into(),
        [a, b, c, d, ..] => Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_are_one_and_a_network_is_one() {
        let canonical = |text: &str| canonical(text.parse().unwrap());
        assert_eq!(canonical("::ffff:192.0.2.1"), canonical("192.0.2.1"));
        assert_eq!(canonical("64:ff9b::192.0.2.1"), canonical("192.0.2.1"));
        assert_ne!(canonical("64:ff9b:1::192.0.2.1"), canonical("192.0.2.1"));
        assert_eq!(canonical("2001:db8:1:2::1"), canonical("2001:db8:1:2:ffff::9"));
        assert_ne!(canonical("2001:db8:1:2::1"), canonical("2001:db8:1:3::1"));
        assert_ne!(canonical("192.0.2.1"), canonical("192.0.2.2"));
    }
}
