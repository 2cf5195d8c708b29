//! What a neighbour's entry says of paths: how many of a prefix.

use super::NeighborEntry;
use anyhow::{Result, ensure};
use bgp::{AddPath, PeerConfig};
use serde::Deserialize;

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum AddPathName {
    Receive,
    Send,
    Both,
}

impl NeighborEntry {
    /// Puts the settings of paths into `peer`; `what` is how errors call it.
    pub(super) fn paths(&self, what: &str, peer: &mut PeerConfig) -> Result<()> {
        peer.add_path = match self.add_path {
            None => AddPath::default(),
            Some(name) => AddPath {
                receive: matches!(name, AddPathName::Receive | AddPathName::Both),
                send: matches!(name, AddPathName::Send | AddPathName::Both),
                limit: self.add_path_limit,
            },
        };
        ensure!(
            self.add_path_limit.is_none() || peer.add_path.send,
            "{what}: add_path_limit is for add_path = \"send\" or \"both\""
        );
        ensure!(
            self.add_path_limit != Some(0),
            "{what}: add_path_limit is at least 1"
        );
        peer.extended_next_hop = self.extended_next_hop.unwrap_or(peer.extended_next_hop);
        peer.link_local_next_hop = self.link_local_next_hop.unwrap_or(true);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::ConfigFile;
    use super::*;

    fn read(settings: &str) -> Result<PeerConfig> {
        let text = format!(
            "router_id = \"10.0.0.1\"\nlocal_as = 64512\n[[neighbor]]\naddress = \"10.0.0.2\"\nas = 1\n{settings}"
        );
        Ok(toml::from_str::<ConfigFile>(&text)?
            .config()?
            .peers
            .remove(0))
    }

    #[test]
    fn extended_next_hop() {
        let on = |settings: &str| read(settings).expect("valid").extended_next_hop;
        let link_local = |settings: &str| read(settings).expect("valid").link_local_next_hop;
        assert!(link_local("") && !link_local("link_local_next_hop = false"));
        assert!(!on("") && on("extended_next_hop = true"));
    }

    #[test]
    fn add_path() {
        let mode = |settings: &str| {
            let peer = read(settings).expect("valid");
            (
                peer.add_path.receive,
                peer.add_path.send,
                peer.add_path.limit,
            )
        };
        assert_eq!(mode(""), (false, false, None));
        assert_eq!(mode("add_path = \"receive\""), (true, false, None));
        assert_eq!(mode("add_path = \"send\""), (false, true, None));
        assert_eq!(
            mode("add_path = \"both\"\nadd_path_limit = 4"),
            (true, true, Some(4))
        );
        for wrong in [
            "add_path = \"all\"",
            "add_path_limit = 4",
            "add_path = \"receive\"\nadd_path_limit = 4",
            "add_path = \"send\"\nadd_path_limit = 0",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
