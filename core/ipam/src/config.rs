//! IPAM's own configuration (calico-compat §2.3: `/calico/ipam/v2/config`, snake case and camel case mixed).

use std::collections::BTreeMap;

use resource::{Key, Store, StoreError, StoreResult};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Ipam;

/// The configuration, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Whether a node takes addresses from its own blocks only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict_affinity: bool,
    /// Whether a node claims new blocks by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auto_allocate_blocks: bool,
    /// How many blocks a node may have; 0 means [`DEFAULT_BLOCKS_PER_HOST`].
    #[serde(rename = "maxBlocksPerHost", default, skip_serializing_if = "is_zero")]
    pub max_blocks_per_host: u32,
    /// Kept for KubeVirt.
    #[serde(
        rename = "kubeVirtVMAddressPersistence",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub kube_virt_vm_address_persistence: Option<String>,
    /// What else stands there (newer versions have more): kept as it is.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

/// How many blocks a node may have when nothing else is said.
pub const DEFAULT_BLOCKS_PER_HOST: u32 = 20;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Default for Config {
    fn default() -> Config {
        Config {
            strict_affinity: false,
            auto_allocate_blocks: true,
            max_blocks_per_host: 0,
            kube_virt_vm_address_persistence: Some("Enabled".to_string()),
            others: BTreeMap::new(),
        }
    }
}

impl Config {
    /// The limit for a request that names its own: the smaller of those that are given.
    pub fn block_limit(&self, requested: Option<u32>) -> u32 {
        let given = [requested.unwrap_or(0), self.max_blocks_per_host];
        given
            .into_iter()
            .filter(|&n| n > 0)
            .min()
            .unwrap_or(DEFAULT_BLOCKS_PER_HOST)
    }
}

impl<S: Store> Ipam<'_, S> {
    /// The configuration, or the defaults when there is none.
    ///
    /// # Errors
    /// The store's; [`StoreError::Malformed`] when it cannot be read.
    pub async fn config(&self) -> StoreResult<Config> {
        let Some(entry) = self.store.get(&Key::IpamConfig).await? else {
            return Ok(Config::default());
        };
        serde_json::from_str(&entry.value).map_err(|e| StoreError::Malformed {
            key: Key::IpamConfig,
            reason: e.to_string(),
        })
    }

    /// Writes the configuration over whatever is there, as `calicoctl ipam configure` does.
    ///
    /// # Errors
    /// The store's; [`StoreError::Conflict`] when others wrote it again and again.
    pub async fn set_config(&self, config: &Config) -> StoreResult<()> {
        let mut config = config.clone();
        // Calico fills it in with any write.
        config
            .kube_virt_vm_address_persistence
            .get_or_insert_with(|| "Enabled".to_string());
        let text = serde_json::to_string(&config)
            .expect("our own types have string keys and finite numbers");
        for _ in 0..crate::records::RETRIES {
            let written = match self.store.get(&Key::IpamConfig).await? {
                None => self.store.create(&Key::IpamConfig, &text).await,
                Some(entry) => {
                    self.store
                        .update(&Key::IpamConfig, &text, entry.revision)
                        .await
                }
            };
            if crate::records::unless_lost(written)?.is_some() {
                return Ok(());
            }
        }
        Err(StoreError::Conflict(Key::IpamConfig))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_calico_s() {
        let stored = r#"{"strict_affinity":true,"auto_allocate_blocks":true,"maxBlocksPerHost":4,"kubeVirtVMAddressPersistence":"Enabled"}"#;
        let config: Config = serde_json::from_str(stored).unwrap();
        assert_eq!(serde_json::to_string(&config).unwrap(), stored);
        let short = r#"{"auto_allocate_blocks":true,"kubeVirtVMAddressPersistence":"Enabled"}"#;
        let config: Config = serde_json::from_str(short).unwrap();
        assert!(!config.strict_affinity);
        assert_eq!(serde_json::to_string(&config).unwrap(), short);
    }

    #[test]
    fn the_smaller_limit_holds() {
        let config = |n| Config {
            max_blocks_per_host: n,
            ..Config::default()
        };
        assert_eq!(config(0).block_limit(None), 20);
        assert_eq!(config(4).block_limit(None), 4);
        assert_eq!(config(4).block_limit(Some(2)), 2);
        assert_eq!(config(0).block_limit(Some(40)), 40);
    }
}
