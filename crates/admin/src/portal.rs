//! Portals as command lines name them.

use core::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// TCP port of iSCSI (RFC 7143 4.2.7.1).
pub const DEFAULT_PORT: u16 = 3260;

/// Target portal group of a portal for which none is named.
pub const DEFAULT_GROUP: u16 = 1;

/// Where to listen: `ADDRESS[:PORT][,GROUP]`, as in a TargetAddress.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Portal {
    /// Numeric address without brackets, or a host name.
    pub host: String,
    /// TCP port; 0: any free one.
    pub port: u16,
    /// Target portal group tag, 1 to 65535. Each group is a target port, and a target port group, of every target.
    pub group: u16,
}

impl Portal {
    /// Reads `192.0.2.1`, `192.0.2.1:3260`, `[2001:db8::1]:3260`, `2001:db8::1`, `host:3260`, each with `,GROUP` or without.
    ///
    /// Errors say what is wrong with the text. An empty address is refused: it would listen everywhere.
    pub fn parse(text: &str) -> Result<Portal, String> {
        let (place, group) = match text.split_once(',') {
            None => (text, DEFAULT_GROUP),
            Some((place, digits)) => {
                let group = digits.parse().ok().filter(|&group| group != 0 && !digits.starts_with('+'));
                (place, group.ok_or_else(|| format!("portal '{text}': group '{digits}' is not within 1 to 65535"))?)
            }
        };
        if let Ok(address) = place.parse::<Ipv6Addr>() {
            return Ok(Portal { host: address.to_string(), port: DEFAULT_PORT, group });
        }
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or_else(|| format!("portal '{text}': no closing bracket"))?;
                let port = match (after, after.strip_prefix(':')) {
                    ("", _) => None,
                    (_, Some(port)) => Some(port),
                    _ => return Err(format!("portal '{text}': expected ':PORT' after the bracket")),
                };
                let numeric = host.parse::<IpAddr>().map_err(|_| format!("portal '{text}': '{host}' is no address"))?;
                (numeric.to_string(), port)
            }
            None => match place.split_once(':') {
                Some((host, port)) => (host.to_owned(), Some(port)),
                None => (place.to_owned(), None),
            },
        };
        if host.is_empty() {
            return Err(format!("portal '{text}': the address is missing"));
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(digits) => digits.parse().map_err(|_| format!("portal '{text}': port '{digits}' is not within 0 to 65535"))?,
        };
        Ok(Portal { host, port, group })
    }

    /// Its address when the host is numeric.
    pub fn numeric(&self) -> Option<SocketAddr> {
        self.host.parse().ok().map(|address| SocketAddr::new(address, self.port))
    }
}

impl fmt::Display for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)?;
        } else {
            write!(f, "{}:{}", self.host, self.port)?;
        }
        // Told only where it is not that of everybody.
        if self.group == DEFAULT_GROUP { Ok(()) } else { write!(f, ",{}", self.group) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses_with_and_without_port() {
        let shown = |text: &str| Portal::parse(text).map(|portal| portal.to_string());
        assert_eq!(shown("127.0.0.1"), Ok("127.0.0.1:3260".into()));
        assert_eq!(shown("127.0.0.1:0"), Ok("127.0.0.1:0".into()));
        assert_eq!(shown("[::1]:3333"), Ok("[::1]:3333".into()));
        assert_eq!(shown("[::1]"), Ok("[::1]:3260".into()));
        assert_eq!(shown("::1"), Ok("[::1]:3260".into()));
        // One address has one form, however it was written.
        assert_eq!(shown("2001:DB8:0::A"), shown("[2001:db8::a]"));
        assert_eq!(shown("[127.0.0.1]:1"), Ok("127.0.0.1:1".into()));
        assert_eq!(shown("localhost:13378"), Ok("localhost:13378".into()));
        assert_eq!(shown("127.0.0.1,2"), Ok("127.0.0.1:3260,2".into()));
        assert_eq!(shown("[::1]:5,1"), Ok("[::1]:5".into()));
        assert_eq!(shown("::1,65535"), Ok("[::1]:3260,65535".into()));
    }

    #[test]
    fn refuses_what_would_listen_somewhere_else() {
        for text in [
            "",
            ":3260",
            "127.0.0.1:99999",
            "127.0.0.1:",
            "127.0.0.1:12x",
            "127.0.0.1,0",
            "127.0.0.1,",
            "127.0.0.1,65536",
            "127.0.0.1,+2",
            "::1,2,3",
            ",2",
            "[::1",
            "[::1]3260",
            "[x]:1",
        ] {
            assert!(Portal::parse(text).is_err_and(|error| error.starts_with("portal '")), "{text}");
        }
    }
}
