//! Address ranges.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A range of addresses of one family, in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    is_v4: bool,
    /// The address bits, right-aligned; 32 or 128 of them.
    bits: u128,
    prefix: u32,
}

impl Network {
    /// `None` if the prefix is longer than the address.
    pub(crate) fn new(address: IpAddr, prefix: u32) -> Option<Self> {
        let (is_v4, bits, length) = split(address);
        if prefix > length {
            return None;
        }
        Some(Self { is_v4, bits: cut(bits, length - prefix), prefix })
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let (is_v4, bits, length) = split(address);
        is_v4 == self.is_v4 && cut(bits, length - self.prefix) == self.bits
    }
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, prefix) = text.split_once('/').ok_or(())?;
        if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(());
        }
        let address: IpAddr = address.parse().map_err(|_| ())?;
        Self::new(address, prefix.parse().map_err(|_| ())?).ok_or(())
    }
}

fn split(address: IpAddr) -> (bool, u128, u32) {
    match address {
        IpAddr::V4(v4) => (true, u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (false, v6.to_bits(), 128),
    }
}

/// `bits` with the last `count` set to zero.
fn cut(bits: u128, count: u32) -> u128 {
    bits.checked_shr(count).and_then(|kept| kept.checked_shl(count)).unwrap_or(0)
}

/// IPv4 addresses written as IPv6 ones (`::ffff:a.b.c.d`) are what they say.
pub(crate) fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
    }
}

/// Addresses that exist on one link only, cloud metadata among them.
pub(crate) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || is_site_metadata(v6),
    }
}

/// The address under which one large cloud serves its metadata over IPv6; it lies in `fc00::/7`, and is
/// treated like the link-local one it doubles.
fn is_site_metadata(address: Ipv6Addr) -> bool {
    address == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
}

/// Addresses that no call of ours may reach unless an entry allows it.
pub(crate) fn is_special(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => DENIED_V4.iter().any(|(base, prefix)| {
            let shift = 32 - prefix;
            v4.to_bits() >> shift == u32::from_be_bytes(*base) >> shift
        }),
        IpAddr::V6(v6) => DENIED_V6.iter().any(|(base, prefix)| {
            let shift = 128 - prefix;
            v6.to_bits() >> shift == Ipv6Addr::from(*base).to_bits() >> shift
        }),
    }
}

/// Governance 1, and the special-purpose registries of IANA (read 2026-11-22).
const DENIED_V4: [([u8; 4], u32); 16] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
    ([255, 255, 255, 255], 32),
];

const DENIED_V6: [([u16; 8], u32); 13] = [
    // unspecified, loopback and the old way of writing IPv4 addresses
    ([0, 0, 0, 0, 0, 0, 0, 0], 96),
    ([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96),
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48),
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
    ([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
];
