//! Passwords of BGP sessions: the files that BGPPeers name as keys of Secrets (docs/adr/0012-passwords-in-files.md).

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use intent::SecretKey;
use node::{PasswordFor, SpeakerConfig};

/// Files are looked at this often. A Secret that Kubernetes mounts is exchanged as a whole, by links, so that there is no
/// single file to be told of.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// No password is longer; the kernel takes 80 octets.
const LONGEST: u64 = 4096;

/// What the files said when they were read last.
#[derive(Debug)]
pub(crate) struct Secrets {
    directory: PathBuf,
    known: BTreeMap<SecretKey, Result<Vec<u8>, String>>,
}

impl Secrets {
    pub(crate) fn new(directory: PathBuf) -> Secrets {
        Secrets {
            directory,
            known: BTreeMap::new(),
        }
    }

    /// Reads all that the configuration names; true when something is otherwise than before.
    pub(crate) fn read(&mut self, wanted: &SpeakerConfig) -> bool {
        let keys = wanted.passwords.values().cloned();
        let read = keys.map(|key| {
            let word = read(&self.directory, &key);
            (key, word)
        });
        let known = read.collect();
        std::mem::replace(&mut self.known, known) != self.known
    }

    /// The speaker's configuration with what is known.
    pub(crate) fn fill(&self, wanted: &SpeakerConfig) -> bgp::Config {
        wanted.with_passwords(|key| self.known.get(key)?.as_ref().ok().cloned())
    }

    /// One line for each session that is not, for want of a password.
    pub(crate) fn missing(&self, wanted: &SpeakerConfig) -> Vec<String> {
        let why = |(whose, key): (&PasswordFor, &SecretKey)| match self.known.get(key)? {
            Err(why) if !key.optional => {
                let whose = match whose {
                    PasswordFor::Peer(name) => name.clone(),
                    PasswordFor::Range(range) => format!("dynamic neighbours in {range}"),
                };
                Some(format!(
                    "password-missing: {whose}: {key}: {why}. There is no session until it is there."
                ))
            }
            Ok(_) | Err(_) => None,
        };
        wanted.passwords.iter().filter_map(why).collect()
    }
}

fn read(directory: &Path, key: &SecretKey) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let path = directory.join(&key.name).join(&key.key);
    let says = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => format!("{} is not there", path.display()),
        _ => format!("{}: {error}", path.display()),
    };
    let file = std::fs::File::open(&path).map_err(says)?;
    let mut word = Vec::new();
    file.take(LONGEST + 1)
        .read_to_end(&mut word)
        .map_err(says)?;
    // An editor ends a file with a newline; no password has one.
    if word.last() == Some(&b'\n') {
        word.pop();
    }
    match word.len() {
        0 => Err(format!("{} is empty", path.display())),
        1..=80 => Ok(word),
        _ => Err(format!(
            "{} is longer than the 80 octets that a TCP-MD5 key can have",
            path.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, optional: bool) -> SecretKey {
        SecretKey {
            name: name.into(),
            key: "password".into(),
            optional,
        }
    }

    #[test]
    fn files_are_read_as_they_are_now() {
        let directory =
            std::env::temp_dir().join(format!("selvedge-secrets-{}", std::process::id()));
        let mut config = bgp::Config::new(1.into(), [10, 0, 0, 1].into());
        let names = ["there", "absent", "may-be-absent"];
        for name in names {
            let address = [10, 0, 0, 2].into();
            config
                .peers
                .push(bgp::PeerConfig::new(name, address, 2.into()));
        }
        let whose = |name: &str| {
            (
                PasswordFor::Peer(name.into()),
                key(name, name == "may-be-absent"),
            )
        };
        let wanted = SpeakerConfig {
            config,
            passwords: names.into_iter().map(whose).collect(),
        };
        std::fs::create_dir_all(directory.join("there")).expect("a directory");
        let write = |word: &str| std::fs::write(directory.join("there/password"), word);
        let mut secrets = Secrets::new(directory.clone());
        let of =
            |secrets: &Secrets, at: usize| secrets.fill(&wanted).peers[at].authentication.clone();
        let md5 = |word: &str| bgp::Authentication::Md5(bgp::Secret::new(word.as_bytes()));
        let refused = bgp::Authentication::Refused(bgp::AuthenticationRefusal::PasswordUnavailable);

        write("word\n").expect("written");
        assert!(secrets.read(&wanted) && !secrets.read(&wanted), "read once");
        assert_eq!(of(&secrets, 0), md5("word"));
        assert_eq!(of(&secrets, 1), refused);
        assert_eq!(of(&secrets, 2), bgp::Authentication::None);
        let missing = secrets.missing(&wanted);
        assert_eq!(missing.len(), 1, "{missing:?}");
        assert!(
            missing[0].contains("absent/password is not there"),
            "{missing:?}"
        );

        write("other").expect("written");
        assert!(secrets.read(&wanted));
        assert_eq!(of(&secrets, 0), md5("other"));
        for (word, why) in [
            ("", "is empty"),
            (&*"x".repeat(81), "longer than the 80 octets"),
        ] {
            write(word).expect("written");
            assert!(secrets.read(&wanted));
            assert_eq!(of(&secrets, 0), refused, "{why}");
            assert!(
                secrets
                    .missing(&wanted)
                    .iter()
                    .any(|text| text.contains(why))
            );
        }
        assert!(
            !format!("{:?}", secrets.missing(&wanted)).contains("other"),
            "never shown"
        );
        std::fs::remove_dir_all(directory).expect("removed");
    }
}
