//! Why a client's call did not do what was asked.

use std::fmt;

use crate::StoreError;
use crate::validate::ValidationError;

/// Why a call did not do what was asked; the text is calicoctl's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// The store refused or failed.
    Store(StoreError),
    /// The object is not what it must be.
    Invalid(ValidationError),
    /// People may not do this with the object; calicoctl's whole text.
    Refused(String),
    /// The addresses could not be released.
    Allocations(String),
}

impl ClientError {
    /// calicoctl's text where the datastore has said `cause` (see [`Store::cause`](crate::Store::cause)).
    pub fn text(&self, cause: Option<String>) -> String {
        match (self, cause) {
            (ClientError::Store(error), Some(cause)) => format!("{error} with error: {cause}"),
            (_, _) => self.to_string(),
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Store(error @ (StoreError::Exists(_) | StoreError::NotFound(_))) => {
                write!(f, "{error} with error: <nil>")
            }
            ClientError::Store(error) => error.fmt(f),
            ClientError::Invalid(error) => error.fmt(f),
            ClientError::Refused(text) | ClientError::Allocations(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<StoreError> for ClientError {
    fn from(error: StoreError) -> ClientError {
        ClientError::Store(error)
    }
}

impl From<ValidationError> for ClientError {
    fn from(error: ValidationError) -> ClientError {
        ClientError::Invalid(error)
    }
}
