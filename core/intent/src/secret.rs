//! Passwords, by the names of where they are; what they are is not known here.

use std::fmt;

use resource::kinds::BgpPassword;

/// A key of a Secret (Kubernetes API: SecretKeySelector).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretKey {
    /// The Secret.
    pub name: String,
    /// The key in it.
    pub key: String,
    /// It may be absent: then there is no password, and that is meant so.
    pub optional: bool,
}

impl SecretKey {
    /// Reads a field; an error says what it lacks.
    pub(crate) fn read(password: Option<&BgpPassword>) -> Result<Option<SecretKey>, &'static str> {
        let Some(password) = password else {
            return Ok(None);
        };
        let reference = password.secret_key_ref.as_ref();
        let reference = reference.ok_or("it has no secretKeyRef")?;
        // Both are names of files where Secrets are files.
        let is_name = |text: &str| {
            let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !text.is_empty() && !text.starts_with('.') && text.chars().all(good)
        };
        if !is_name(&reference.name) {
            return Err("secretKeyRef.name is no name of a Secret");
        }
        if !is_name(&reference.key) {
            return Err("secretKeyRef.key is no key of a Secret");
        }
        Ok(Some(SecretKey {
            name: reference.name.clone(),
            key: reference.key.clone(),
            optional: reference.optional.unwrap_or(false),
        }))
    }
}

impl fmt::Display for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret {} key {}", self.name, self.key)
    }
}
