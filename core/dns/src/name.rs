//! Domain names in lower-case wire form (RFC 1035 §3.1; compared without case, RFC 4343).

use std::fmt;

/// Longest name in octets, with length octets and the root (RFC 1035 §2.3.4).
pub(crate) const MAX_NAME: usize = 255;
/// Longest label in octets (RFC 1035 §2.3.4).
pub(crate) const MAX_LABEL: usize = 63;

/// A fully qualified name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Vec<u8>);

/// Why a text is not a domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Two dots in a row, or nothing at all.
    EmptyLabel,
    /// A label is longer than 63 octets.
    LabelTooLong,
    /// The name is longer than 255 octets.
    TooLong,
    /// An octet that is not a letter, digit, `-` or `_`.
    BadOctet(u8),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::EmptyLabel => write!(f, "empty label"),
            NameError::LabelTooLong => write!(f, "a label is longer than 63 octets"),
            NameError::TooLong => write!(f, "the name is longer than 255 octets"),
            NameError::BadOctet(octet) => {
                write!(f, "{:?} is not a letter, digit, - or _", char::from(*octet))
            }
        }
    }
}

impl std::error::Error for NameError {}

impl Name {
    /// Reads `a.b.c` or `a.b.c.`.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Name, NameError> {
        let bare = text.strip_suffix('.').unwrap_or(text);
        if let Some(bad) = bare
            .bytes()
            .find(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')))
        {
            return Err(NameError::BadOctet(bad));
        }
        let labels: Vec<&[u8]> = bare.split('.').map(str::as_bytes).collect();
        if labels.iter().any(|l| l.is_empty()) {
            return Err(NameError::EmptyLabel);
        }
        if labels.iter().any(|l| l.len() > MAX_LABEL) {
            return Err(NameError::LabelTooLong);
        }
        Name::root().under(&labels).ok_or(NameError::TooLong)
    }

    pub(crate) fn root() -> Name {
        Name(vec![0])
    }

    /// The name with these labels before it; none when it would be too long or a label is empty or too long.
    pub(crate) fn under(&self, labels: &[&[u8]]) -> Option<Name> {
        let size = labels.iter().map(|l| l.len() + 1).sum::<usize>() + self.0.len();
        if size > MAX_NAME {
            return None;
        }
        let mut wire = Vec::with_capacity(size);
        for label in labels {
            if !(1..=MAX_LABEL).contains(&label.len()) {
                return None;
            }
            wire.push(u8::try_from(label.len()).ok()?);
            wire.extend(label.iter().map(u8::to_ascii_lowercase));
        }
        wire.extend_from_slice(&self.0);
        Some(Name(wire))
    }

    /// From wire form that is known to be well formed and uncompressed; letters become lower case.
    pub(crate) fn from_checked_wire(wire: &[u8]) -> Name {
        // Length octets are at most 63, below `A`, so lower-casing all octets leaves them alone.
        Name(wire.to_ascii_lowercase())
    }

    /// Wire form with the root's octet at the end.
    pub(crate) fn wire(&self) -> &[u8] {
        &self.0
    }

    /// Where each label begins, the root not counted.
    pub(crate) fn starts(&self) -> impl Iterator<Item = usize> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let length = usize::from(self.0[at]);
            let start = at;
            at += length + 1;
            (length > 0).then_some(start)
        })
    }

    /// The labels, leftmost first.
    pub(crate) fn labels(&self) -> impl Iterator<Item = &[u8]> + '_ {
        self.starts()
            .map(|at| &self.0[at + 1..at + 1 + usize::from(self.0[at])])
    }

    /// The labels before `apex`, leftmost first; none when the name is not at or beneath it.
    pub(crate) fn before(&self, apex: &Name) -> Option<Vec<&[u8]>> {
        let own = self.labels().count();
        let relative = own.checked_sub(apex.labels().count())?;
        let start = self.starts().nth(relative).unwrap_or(self.0.len() - 1);
        (self.0[start..] == apex.0).then(|| self.labels().take(relative).collect())
    }

    /// The name and those above it, the root not counted: `a.b`, `b`.
    pub(crate) fn self_and_above(&self) -> impl Iterator<Item = Name> + '_ {
        self.starts().map(|at| Name(self.0[at..].to_vec()))
    }
}

impl fmt::Display for Name {
    /// Master file form (RFC 1035 §5.1) with the final dot.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for label in self.labels() {
            for &octet in label {
                match octet {
                    b'.' | b'\\' => write!(f, "\\{}", char::from(octet))?,
                    0x21..=0x7e => write!(f, "{}", char::from(octet))?,
                    _ => write!(f, "\\{octet:03}")?,
                }
            }
            write!(f, ".")?;
        }
        if self.0 == [0] {
            write!(f, ".")?;
        }
        Ok(())
    }
}
