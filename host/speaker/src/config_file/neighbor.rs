//! Who a neighbour is: an address, all of a range, or who is found on an interface.

use super::NeighborEntry;
use anyhow::{Result, bail, ensure};
use bgp::{PeerConfig, RemoteAs};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// IFNAMSIZ less the end. Source: linux/if.h.
const INTERFACE_MAX: usize = 15;

/// The AS of a neighbour: a number, `"external"` or `"internal"`.
#[derive(Clone, Copy, Debug)]
pub(super) struct As(pub RemoteAs);

impl<'de> Deserialize<'de> for As {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Word;
        impl Visitor<'_> for Word {
            type Value = As;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an AS number, \"external\" or \"internal\"")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<As, E> {
                let number = u32::try_from(number);
                let number = number.map_err(|_| E::custom("an AS number has 32 bits"))?;
                Ok(As(number.into()))
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<As, E> {
                match word {
                    "external" => Ok(As(RemoteAs::External)),
                    "internal" => Ok(As(RemoteAs::Internal)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }
        }
        deserializer.deserialize_any(Word)
    }
}

impl NeighborEntry {
    /// The peer with what tells it from others, and all else as usual.
    pub(super) fn who(&self, remote_as: RemoteAs) -> Result<PeerConfig> {
        let name = |usual: String| self.name.clone().unwrap_or(usual);
        match (self.address, self.range, &self.interface) {
            (Some(address), None, None) => {
                let name = name(format!("neighbor_{address}"));
                Ok(PeerConfig::new(name, address, remote_as))
            }
            (None, Some(range), None) => {
                let (address, length) = (range.addr(), range.prefix_len());
                let name = name(format!("range_{address}_{length}"));
                Ok(PeerConfig::new(name, address, remote_as))
            }
            (None, None, Some(interface)) => {
                let name = name(format!("neighbor_{interface}"));
                let odd = |c: char| c == '/' || c.is_whitespace();
                ensure!(
                    (1..=INTERFACE_MAX).contains(&interface.len()) && !interface.contains(odd),
                    "{name}: {interface:?} is no interface's name"
                );
                ensure!(
                    self.source.is_none(),
                    "{name}: source is for neighbors with an address"
                );
                Ok(PeerConfig::unnumbered(name, interface.as_str(), remote_as))
            }
            _ => bail!("neighbor: give either `address`, `range` or `interface`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ConfigFile;
    use super::*;
    use bgp::Config;

    fn read(neighbors: &str) -> Result<Config> {
        let text = format!("router_id = \"10.0.0.1\"\nlocal_as = 64512\n{neighbors}");
        toml::from_str::<ConfigFile>(&text)?.config()
    }

    #[test]
    fn unnumbered() {
        let entry = "[[neighbor]]\ninterface = \"eth0\"\nas = \"external\"\n";
        let peer = read(entry).expect("valid").peers.remove(0);
        let expected = PeerConfig::unnumbered("neighbor_eth0", "eth0", RemoteAs::External);
        assert_eq!(peer, expected);
        assert!(peer.extended_next_hop);
        let off = read(&format!("{entry}extended_next_hop = false")).expect("valid");
        assert!(!off.peers[0].extended_next_hop);
        let second = entry
            .replace("eth0", "eth1")
            .replace("\"external\"", "65001");
        let both = read(&format!("{entry}{second}")).expect("valid").peers;
        assert_eq!(both[1].remote_as, 65001.into());
        let client = entry.replace("external", "internal") + "rr_client = true";
        assert!(read(&client).expect("valid").peers[0].rr_client.is_some());
    }

    #[test]
    fn refusals() {
        let entry = "[[neighbor]]\ninterface = \"eth0\"\nas = \"external\"\n";
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let error = format!("{:#}", read(text).expect_err("invalid"));
            assert!(error.contains(expected), "{error}");
        }
        check(&entry.replace("external", "other"), "an AS number");
        check(&entry.replace("\"external\"", "-1"), "32 bits");
        check(&entry.replace("\"external\"", "0"), "must not be 0");
        check(
            &entry.replace("eth0", "much-too-long-for-it"),
            "no interface",
        );
        check(&entry.replace("eth0", ""), "no interface");
        check(&format!("{entry}address = \"10.0.0.2\""), "either");
        check(&format!("{entry}source = \"fe80::1\""), "source");
        check(&format!("{entry}rr_client = true"), "our own AS");
        check(&format!("{entry}{entry}name = \"b\""), "the interface eth0");
        let second = entry.replace("eth0", "eth1");
        check(
            &format!("{entry}{second}password = \"b\""),
            "different passwords",
        );
    }
}
