//! Identifiers and timestamps for new objects.

use std::fs::File;
use std::io::Read;

use anyhow::{Context, Result};

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("reading /dev/urandom")?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A random UUID, version 4 (RFC 9562 §5.4).
pub(crate) fn new_uid() -> Result<String> {
    let mut bytes: [u8; 16] = random()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let parts = [
        &bytes[..4],
        &bytes[4..6],
        &bytes[6..8],
        &bytes[8..10],
        &bytes[10..],
    ];
    Ok(parts.map(hex).join("-"))
}

/// 32 hexadecimal digits (Calico: ClusterInformation.clusterGUID).
pub(crate) fn new_guid() -> Result<String> {
    Ok(hex(&random::<16>()?))
}

/// A seed for the speaker's jitter.
pub(crate) fn seed() -> Result<u64> {
    Ok(u64::from_le_bytes(random()?))
}

/// Now, RFC 3339, whole seconds, UTC.
pub(crate) fn timestamp() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let uid = new_uid().expect("a uid");
        assert_eq!(uid.len(), 36);
        assert_eq!(uid.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&uid.as_bytes()[19]));
        assert_ne!(new_uid().expect("a uid"), uid);
        assert_eq!(new_guid().expect("a GUID").len(), 32);
        let now = timestamp();
        assert!(now.len() == 20 && now.ends_with('Z'), "{now}");
    }
}
