//! Where a request comes from: the peer, or what trusted proxies say.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::{iter, str, sync::Arc};

use http::request::Parts;
use ipnet::IpNet;

use crate::{error::InvalidConfig, secret::debug_only};

/// No chain of proxies is longer. What is further left is not read.
const MOST_VALUES: usize = 100;

type Peer = dyn Fn(&Parts) -> Option<IpAddr> + Send + Sync;

/// How the client's address is found: the peer of the connection, or behind proxies the address that they report.
///
/// 1. Without [`behind_proxies`](Self::behind_proxies), the peer is the client, and no header is read.
/// 2. A peer outside the trusted networks is the client. Its header is not read, as anyone can write one.
/// 3. If the peer is a trusted proxy, the values of the one header are read from the right. Trusted addresses are skipped, and
///    the first other one is the client's. What stands left of it was written by the client.
/// 4. A value that is no address ends the search without a result: garbage, `unknown`, `_hidden`, an address with a zone. So
///    does the end of the list, and the hundredth value.
/// 5. IPv4 addresses that are mapped into IPv6 are IPv4 addresses, for all parties.
///
/// ```
/// use std::net::SocketAddr;
/// use tower_oauth2_password::{ClientAddress, ForwardedHeader};
///
/// // axum, served with `into_make_service_with_connect_info::<SocketAddr>()`
/// use axum::extract::ConnectInfo;
/// let direct = ClientAddress::peer(|peer: &ConnectInfo<SocketAddr>| peer.0);
/// // tonic: ClientAddress::peer(|peer: &TcpConnectInfo| peer.remote_addr())
/// // hyper: what you insert into the extensions of each request
/// let direct = ClientAddress::peer(|peer: &SocketAddr| *peer);
///
/// let proxied = direct.behind_proxies(ForwardedHeader::XForwardedFor, ["10.0.0.0/8", "::1"])?;
/// assert!(proxied.behind_proxies(ForwardedHeader::Forwarded, ["0.0.0.0/0"]).is_err());
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
///
/// A function is a `ClientAddress`, too, for whatever else a proxy does: `|request: &Parts| -> Option<IpAddr> { … }`.
#[derive(Clone)]
#[must_use]
pub struct ClientAddress {
    peer: Arc<Peer>,
    proxies: Option<(ForwardedHeader, Arc<[IpNet]>)>,
}

debug_only!(ClientAddress { proxies });

/// The header in which proxies report addresses. Exactly this one is read.
///
/// ```
/// use std::net::SocketAddr;
/// use tower_oauth2_password::{ClientAddress, ForwardedHeader};
///
/// let proxied = ClientAddress::peer(|peer: &SocketAddr| *peer).behind_proxies(ForwardedHeader::Forwarded, ["::1"])?;
/// assert!(format!("{proxied:?}").contains("Forwarded"));
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardedHeader {
    /// `X-Forwarded-For: 192.0.2.1, [2001:db8::1]:4711`, with or without brackets and ports.
    XForwardedFor,
    /// `Forwarded: for=192.0.2.1;proto=https, for="[2001:db8::1]:4711"` (RFC 7239, section 4).
    Forwarded,
}

impl<F: Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static> From<F> for ClientAddress {
    fn from(peer: F) -> Self {
        Self { peer: Arc::new(peer), proxies: None }
    }
}

impl ClientAddress {
    /// The address of the peer, from the extension `T` that your server puts into each request. A request without this
    /// extension has no address.
    pub fn peer<T: Send + Sync + 'static, R: Into<Option<SocketAddr>>>(
        address: impl Fn(&T) -> R + Send + Sync + 'static,
    ) -> Self {
        Self::from(move |request: &Parts| address(request.extensions.get::<T>()?).into().map(|peer| peer.ip()))
    }

    /// Believes what the proxies in `networks` write into `header`. List your own proxies only, and let each *add* the
    /// address of its peer to this header, as nginx does with `$proxy_add_x_forwarded_for`. A network is written as
    /// `10.0.0.0/8` or `fd00::/8`, a single host as `192.0.2.7`. A second call replaces the first.
    ///
    /// # Errors
    /// When a network cannot be read, when there is none, and when they cover all IPv4 or all IPv6 addresses: then anyone
    /// could forge an address.
    pub fn behind_proxies<N: AsRef<str>>(
        self,
        header: ForwardedHeader,
        networks: impl IntoIterator<Item = N>,
    ) -> Result<Self, InvalidConfig> {
        let networks = networks.into_iter().map(|text| network(text.as_ref().trim())).collect::<Result<_, _>>()?;
        let networks = IpNet::aggregate(&networks);
        let are_some = !networks.is_empty() && networks.iter().all(|network| network.prefix_len() > 0);
        let fix = "the trusted proxies are none or all: list the networks of your own, or leave `behind_proxies` out";
        InvalidConfig::unless(are_some, fix)?;
        Ok(Self { proxies: Some((header, networks.into())), ..self })
    }

    pub(super) fn of(&self, request: &Parts) -> Option<IpAddr> {
        let peer = (self.peer)(request).map(|peer| peer.to_canonical());
        let Some((header, networks)) = &self.proxies else { return peer };
        let (name, read) = match header {
            ForwardedHeader::XForwardedFor => ("x-forwarded-for", node as fn(&[u8]) -> _),
            ForwardedHeader::Forwarded => ("forwarded", element as fn(&[u8]) -> _),
        };
        let fields = request.headers.get_all(name).iter().rev();
        let values = fields.flat_map(|field| rsplit(field.as_bytes(), b',')).take(MOST_VALUES).map(read);
        let is_proxy = |address| networks.iter().any(|network| network.contains(&address));
        iter::once(peer).chain(values).find(|address| !address.is_some_and(is_proxy)).flatten()
    }
}

fn network(text: &str) -> Result<IpNet, InvalidConfig> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let hint = || format!("{text:?} is no network of proxies: write it as \"10.0.0.0/8\" or \"::1\"");
    let network = network.map_err(|_| InvalidConfig::new(hint()))?;
    let address = network.addr().to_canonical();
    let mapped_bits = if address == network.addr() { 0 } else { 96 };
    Ok(IpNet::new(address, network.prefix_len().saturating_sub(mapped_bits)).unwrap_or(network))
}

/// Splits at separators outside of quoted strings. From the right, as the left part may be a client's forgery: a quote that
/// it leaves open changes nothing to its right.
fn rsplit(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut left, mut is_quoted) = (text, false);
    // This sees each byte once, the last one first.
    text.rsplit(move |byte| {
        left = left.split_last().map_or(left, |(_, left)| left);
        let escapes = || left.iter().rev().take_while(|byte| **byte == b'\\').count();
        is_quoted ^= *byte == b'"' && escapes() % 2 == 0;
        *byte == separator && !is_quoted
    })
}

/// The parameter `for` of an element of `Forwarded`, which occurs once (RFC 7239, section 4).
fn element(text: &[u8]) -> Option<IpAddr> {
    let mut values = rsplit(text, b';').filter_map(|pair| {
        let (name, value) = str::from_utf8(pair).ok()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim())
    });
    let value = values.next().filter(|_| values.next().is_none())?;
    let Some(quoted) = value.strip_prefix('"') else { return node(value.as_bytes()) };
    // No address contains a backslash.
    node(quoted.strip_suffix('"')?.replace('\\', "").as_bytes())
}

/// An address with or without brackets and a port. A zone means something to the proxy only.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?.trim();
    let in_brackets = || Some(text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.into());
    let with_port = || Some(text.parse::<SocketAddr>().ok()?.ip()).filter(|_| !text.contains('%'));
    text.parse().ok().or_else(in_brackets).or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::ForwardedHeader::{Forwarded, XForwardedFor};
    use super::*;

    const PROXIES: [&str; 4] = ["10.0.0.0/8", "192.0.2.7", "2001:db8:ffff::/48", "::1"];

    fn behind<const N: usize>(header: ForwardedHeader, networks: [&str; N]) -> Result<ClientAddress, InvalidConfig> {
        ClientAddress::peer(|peer: &SocketAddr| *peer).behind_proxies(header, networks)
    }

    /// The address of a request with these header fields.
    fn of(address: &ClientAddress, peer: &str, fields: &[(&str, &[u8])]) -> Option<String> {
        let fields = fields.iter().fold(Request::new(()), |mut request, (name, value)| {
            let name = http::HeaderName::try_from(*name).unwrap();
            request.headers_mut().append(name, http::HeaderValue::from_bytes(value).unwrap());
            request
        });
        let (mut parts, ()) = fields.into_parts();
        parts.extensions.insert(SocketAddr::new(peer.parse().unwrap(), 49_152));
        address.of(&parts).map(|address| address.to_string())
    }

    #[track_caller]
    fn check(header: ForwardedHeader, cases: &[(&str, Option<&str>)]) {
        let (address, name) = (behind(header, PROXIES).unwrap(), format!("{header:?}"));
        let name = if header == Forwarded { name } else { "X-Forwarded-For".to_owned() };
        for (fields, expected) in cases {
            let fields: Vec<_> = fields.split('|').map(|field| (name.as_str(), field.as_bytes())).collect();
            assert_eq!(of(&address, "10.0.0.1", &fields).as_deref(), *expected, "{fields:?}");
        }
    }

    #[test]
    fn the_rightmost_untrusted_address_is_the_clients() {
        check(
            XForwardedFor,
            &[
                ("198.51.100.1", Some("198.51.100.1")),
                ("203.0.113.9, 198.51.100.1", Some("198.51.100.1")),
                ("10.0.0.9, 198.51.100.1", Some("198.51.100.1")),
                ("203.0.113.9, 198.51.100.1, 10.0.0.2,192.0.2.7", Some("198.51.100.1")),
                ("203.0.113.9, 198.51.100.1, 192.0.2.8, 10.0.0.2", Some("192.0.2.8")),
                ("\"203.0.113.9, 198.51.100.1", Some("198.51.100.1")),
                // In several fields, in order.
                ("203.0.113.9|198.51.100.1", Some("198.51.100.1")),
                ("203.0.113.9, 198.51.100.1|10.0.0.2", Some("198.51.100.1")),
                ("198.51.100.1|10.0.0.3|10.0.0.2, ::1", Some("198.51.100.1")),
                ("|198.51.100.1", Some("198.51.100.1")),
            ],
        );
    }

    #[test]
    fn without_a_usable_value_there_is_no_address() {
        check(
            XForwardedFor,
            &[
                ("", None),
                ("10.0.0.2, 192.0.2.7", None),
                ("198.51.100.1, unknown", None),
                ("198.51.100.1, _hidden, 10.0.0.2", None),
                ("198.51.100.1, ", None),
                ("198.51.100.1,,10.0.0.2", None),
                ("198.51.100.1|garbage", None),
                ("198.51.100.1, 10.0.0", None),
                ("198.51.100.1, 010.0.0.2", None),
                ("198.51.100.1, \"10.0.0.2\"", None),
                ("198.51.100.1, for=10.0.0.2", None),
                ("198.51.100.1 10.0.0.2", None),
                ("198.51.100.1, \u{e9}", None),
                ("198.51.100.1, 10.0.0.2\u{a0}x", None),
            ],
        );
        let address = behind(XForwardedFor, PROXIES).unwrap();
        assert_eq!(of(&address, "10.0.0.1", &[]), None);
        assert_eq!(of(&address, "10.0.0.1", &[("X-Forwarded-For", b"\xff, 198.51.100.1")]).unwrap(), "198.51.100.1");
        assert_eq!(of(&address, "10.0.0.1", &[("X-Forwarded-For", b"198.51.100.1, \xff")]), None);
    }

    #[test]
    fn an_address_may_have_brackets_and_a_port_but_no_zone() {
        check(
            XForwardedFor,
            &[
                ("198.51.100.1:4711", Some("198.51.100.1")),
                ("\t198.51.100.1 , 10.0.0.2:80", Some("198.51.100.1")),
                ("2001:db8::1", Some("2001:db8::1")),
                ("[2001:db8::1]", Some("2001:db8::1")),
                ("[2001:db8::1]:4711,2001:db8:ffff::2,[::1]:80, [2001:DB8:FFFF:0::3]", Some("2001:db8::1")),
                ("::ffff:198.51.100.1", Some("198.51.100.1")),
                ("198.51.100.1, ::ffff:10.0.0.2", Some("198.51.100.1")),
                ("198.51.100.1, [::ffff:10.0.0.2]:80", Some("198.51.100.1")),
                ("198.51.100.1:", None),
                ("198.51.100.1:65536", None),
                ("198.51.100.1:http", None),
                ("[198.51.100.1]", None),
                ("[2001:db8::1", None),
                ("2001:db8::1]", None),
                ("[2001:db8::1]4711", None),
                ("fe80::1%eth0", None),
                ("fe80::1%1", None),
                ("[fe80::1%1]", None),
                ("[fe80::1%1]:80", None),
            ],
        );
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_says() {
        check(
            Forwarded,
            &[
                ("for=198.51.100.1", Some("198.51.100.1")),
                (
                    "for=203.0.113.9, for=198.51.100.1;proto=https;by=10.0.0.1 , For=\"10.0.0.2:80\"",
                    Some("198.51.100.1"),
                ),
                ("proto=http;by=203.0.113.9;FOR=198.51.100.1", Some("198.51.100.1")),
                ("for=\"[2001:db8::1]:4711\"", Some("2001:db8::1")),
                ("for=\"[2001:db8:cafe::17]\"|for=\"[::1]\"", Some("2001:db8:cafe::17")),
                (r#"for="198\.51.100.\1""#, Some("198.51.100.1")),
                (r#"for=198.51.100.1;host="a,for=203.0.113.9;b", for=10.0.0.2"#, Some("198.51.100.1")),
                (r#"for=198.51.100.1;host="a\",for=203.0.113.9", for=10.0.0.2"#, Some("198.51.100.1")),
                (r#"for=198.51.100.1;host="a\\",for=192.0.2.8"#, Some("192.0.2.8")),
                // What a client left open or escaped.
                ("for=\"203.0.113.9, for=198.51.100.1", Some("198.51.100.1")),
                ("for=203.0.113.9, for=\", for=\"198.51.100.1\"", Some("198.51.100.1")),
                ("for=203.0.113.9;x=\"\\|for=198.51.100.1;by=\"10.0.0.1\"", Some("198.51.100.1")),
                ("for=198.51.100.1, proto=https", None),
                ("for=198.51.100.1, ", None),
                ("for=198.51.100.1, for=unknown", None),
                ("for=198.51.100.1, for=\"_hidden\"", None),
                ("for=198.51.100.1, for=", None),
                ("for=198.51.100.1, for", None),
                ("for=198.51.100.1, 10.0.0.2", None),
                ("for=203.0.113.9;for=198.51.100.1", None),
                ("for=\"198.51.100.1", None),
                ("for=\"", None),
                ("for=\"198.51.100.1\"x", None),
                ("for=\"[fe80::1%1]:80\"", None),
                ("x-for=198.51.100.1", None),
            ],
        );
    }

    #[test]
    fn only_the_header_that_was_named_is_read_and_only_from_trusted_peers() {
        let both: [(&str, &[u8]); 2] = [("x-forwarded-for", b"198.51.100.1"), ("forwarded", b"for=198.51.100.2")];
        for (header, expected) in [(XForwardedFor, "198.51.100.1"), (Forwarded, "198.51.100.2")] {
            let address = behind(header, PROXIES).unwrap();
            for peer in ["10.255.0.1", "::ffff:10.0.0.1", "192.0.2.7", "2001:db8:ffff:1::9", "::1"] {
                assert_eq!(of(&address, peer, &both).unwrap(), expected, "{peer}");
            }
            for peer in ["11.0.0.1", "192.0.2.6", "2001:db8:fffe::1", "::2"] {
                assert_eq!(of(&address, peer, &both).unwrap(), peer);
            }
            assert_eq!(of(&address, "::ffff:11.0.0.1", &both).unwrap(), "11.0.0.1");
        }
        let others = [both[1], ("x-real-ip", b"198.51.100.3"), ("x-forwarded", b"198.51.100.4")];
        assert_eq!(of(&behind(XForwardedFor, PROXIES).unwrap(), "10.0.0.1", &others), None);
        let direct = ClientAddress::peer(|peer: &SocketAddr| *peer);
        assert_eq!(of(&direct, "10.0.0.1", &both).unwrap(), "10.0.0.1");
    }

    #[test]
    fn a_request_without_the_extension_has_no_address() {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.headers.insert("x-forwarded-for", "198.51.100.1".parse().unwrap());
        parts.extensions.insert(7_u16);
        assert_eq!(behind(XForwardedFor, PROXIES).unwrap().of(&parts), None);
        assert_eq!(ClientAddress::peer(|_: &u16| None).of(&parts), None, "a Unix socket has none");
    }

    #[test]
    fn a_bounded_number_of_values_is_read() {
        let address = behind(Forwarded, PROXIES).unwrap();
        let of = |proxies: usize, separator: &str| {
            let fields = format!("for=198.51.100.1{}", format!("{separator}for=10.0.0.2").repeat(proxies));
            let fields: Vec<_> = fields.split('|').map(|field| ("forwarded", field.as_bytes())).collect();
            of(&address, "10.0.0.1", &fields)
        };
        for separator in [",", "|"] {
            assert_eq!(of(99, separator).unwrap(), "198.51.100.1");
            assert_eq!(of(100, separator), None);
            assert_eq!(of(10_000, separator), None);
        }
        // Long enough to be noticed if each byte were looked at for each value, or for each quote.
        for hostile in ["\"", "\\\"", "\\", ";", "=", "for=\"\\\","] {
            let element = hostile.repeat(1_000_000);
            assert_eq!(super::element(element.as_bytes()), None);
            assert_eq!(rsplit(element.as_bytes(), b'x').count(), 1);
        }
    }

    #[test]
    fn networks_that_cannot_be_meant_are_refused() {
        let refused = |networks: &[&str]| {
            let refused = ClientAddress::peer(|_: &()| None).behind_proxies(XForwardedFor, networks);
            refused.unwrap_err().to_string()
        };
        for text in
            ["", "proxy.internal", "10.0.0.0/33", "10.0.0.0/", "10.0.0", "::1/129", "fe80::1%eth0", "10.0.0.1:80"]
        {
            let message = refused(&["::1", text]);
            assert!(message.contains(&format!("{text:?}")) && message.contains("10.0.0.0/8"), "{message}");
        }
        assert!(refused(&[]).contains("list the networks"));
        for all in [&["0.0.0.0/0"][..], &["::/0"], &["::1", "10.1.2.3/0"], &["::ffff:0:0/96"], &["::ffff:1.2.3.4/8"]] {
            assert!(refused(all).contains("list the networks of your own"), "{all:?}");
        }
        assert!(refused(&["0.0.0.0/1", "128.0.0.0/1"]).contains("list the networks of your own"));
        assert!(refused(&["8000::/1", "::/2", "4000::/2"]).contains("list the networks of your own"));
    }

    #[test]
    fn a_network_may_be_mapped_or_have_spaces_around_it() {
        let address = behind(XForwardedFor, [" 10.0.0.0/8", "::ffff:192.0.2.0/120 ", "::ffff:198.51.100.7"]).unwrap();
        let client: [(&str, &[u8]); 1] = [("x-forwarded-for", b"203.0.113.9")];
        for (peer, is_proxy) in [
            ("10.1.1.1", true),
            ("192.0.2.255", true),
            ("192.0.3.0", false),
            ("198.51.100.7", true),
            ("198.51.100.8", false),
        ] {
            assert_eq!(of(&address, peer, &client).unwrap() == "203.0.113.9", is_proxy, "{peer}");
        }
    }

    #[test]
    fn a_second_list_of_proxies_replaces_the_first() {
        let address = behind(XForwardedFor, ["10.0.0.0/8"]).unwrap().behind_proxies(Forwarded, ["192.0.2.7"]).unwrap();
        let both: [(&str, &[u8]); 2] = [("x-forwarded-for", b"192.0.2.7"), ("forwarded", b"for=198.51.100.2")];
        assert_eq!(of(&address, "10.0.0.1", &both).unwrap(), "10.0.0.1");
        assert_eq!(of(&address, "192.0.2.7", &both).unwrap(), "198.51.100.2");
    }
}
