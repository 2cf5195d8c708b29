//! A failure as CNI tells it: a code, a text, details.

use serde_json::json;

use crate::reply;

/// The specification's codes that are used here, and Calico's.
pub const INCOMPATIBLE_VERSION: u32 = 1;
/// No or a bad container.
pub const UNKNOWN_CONTAINER: u32 = 3;
/// The environment.
pub const INVALID_ENVIRONMENT: u32 = 4;
/// Standard input cannot be read.
pub const IO: u32 = 5;
/// Not JSON, or of a wrong type.
pub const DECODING: u32 = 6;
/// A configuration that cannot be.
pub const INVALID_CONFIG: u32 = 7;
/// A namespace that cannot be.
pub const INVALID_NETNS: u32 = 8;
/// The runtime may try again.
pub const TRY_AGAIN: u32 = 11;
/// Calico: a panic.
pub const PANIC: u32 = 100;
/// Everything else.
pub const INTERNAL: u32 = 999;

/// A failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: u32,
    pub message: String,
    pub details: String,
    /// For the log: the reason's stable name, and what to do.
    pub hint: Option<(&'static str, &'static str)>,
}

impl Failure {
    pub fn new(code: u32, message: impl Into<String>) -> Failure {
        Failure {
            code,
            message: message.into(),
            details: String::new(),
            hint: None,
        }
    }

    pub fn with_details(mut self, details: impl Into<String>) -> Failure {
        self.details = details.into();
        self
    }

    pub fn internal(error: impl ToString) -> Failure {
        Failure::new(INTERNAL, error.to_string())
    }

    /// What a runtime reads from standard output.
    pub fn to_json(&self) -> String {
        let mut object = json!({"code": self.code, "msg": self.message});
        if !self.details.is_empty() {
            object["details"] = json!(self.details);
        }
        reply::pretty(&object)
    }

    /// What a person reads in the runtime's log, on standard error.
    pub fn explain(&self) {
        match self.hint {
            Some((name, cure)) => {
                eprintln!("error: {} ({name})\nhint: {cure}", self.message.trim_end())
            }
            None => eprintln!("error: {}", self.message.trim_end()),
        }
    }
}

impl From<ipam::IpamError> for Failure {
    fn from(error: ipam::IpamError) -> Failure {
        let message = error.to_string();
        match error {
            ipam::IpamError::Refused(refusal) => refused(&refusal, message),
            ipam::IpamError::Store(error) => Failure::internal(error),
        }
    }
}

/// A refusal under a message that may say more than the refusal alone.
pub fn refused(refusal: &ipam::Refusal, message: String) -> Failure {
    let code = match refusal {
        ipam::Refusal::ConflictLimit => TRY_AGAIN,
        _ => INTERNAL,
    };
    Failure {
        hint: Some((refusal.name(), refusal.cure())),
        ..Failure::new(code, message)
    }
}

impl From<resource::StoreError> for Failure {
    fn from(error: resource::StoreError) -> Failure {
        Failure::internal(error)
    }
}

impl From<linux::veth::VethError> for Failure {
    fn from(error: linux::veth::VethError) -> Failure {
        Failure::internal(error)
    }
}
