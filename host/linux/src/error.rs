//! What failed, on which object, in the kernel's words, and how to mend it.

use std::fmt;
use std::io;

use crate::netlink::NetlinkError;

/// An operation that failed, or a read.
#[derive(Debug)]
pub struct KernelError {
    /// What was to be done to which object.
    pub operation: String,
    /// What the kernel, or nft, said.
    pub cause: String,
    /// What can be done about it; empty where nothing is known.
    pub mend: &'static str,
    /// The errno, where there is one.
    pub errno: Option<i32>,
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.operation, self.cause)?;
        if self.mend.is_empty() {
            Ok(())
        } else {
            write!(f, "; {}", self.mend)
        }
    }
}

impl std::error::Error for KernelError {}

impl KernelError {
    pub(crate) fn of_netlink(operation: impl fmt::Display, error: &NetlinkError) -> KernelError {
        let errno = error.errno();
        KernelError {
            operation: operation.to_string(),
            cause: error.to_string(),
            mend: mend(errno),
            errno,
        }
    }

    pub(crate) fn of_io(operation: impl fmt::Display, error: &io::Error) -> KernelError {
        let errno = error.raw_os_error();
        KernelError {
            operation: operation.to_string(),
            cause: error.to_string(),
            mend: mend(errno),
            errno,
        }
    }
}

pub(crate) fn mend(errno: Option<i32>) -> &'static str {
    match errno {
        Some(libc::EPERM | libc::EACCES) => {
            "this needs CAP_NET_ADMIN in this network namespace: run as root, or in a user namespace of its own (unshare -Urn)"
        }
        Some(libc::ENODEV) => "the interface is not there; see `ip link`",
        Some(libc::ENETDOWN) => "the interface is down; ip link set it up",
        Some(libc::ENETUNREACH) => {
            "the gateway is on no subnet of that interface; see `ip address`"
        }
        Some(libc::EROFS) => {
            "/proc/sys is mounted read-only; give the container a writable /proc/sys/net"
        }
        Some(libc::EOPNOTSUPP) => {
            "this kernel lacks the feature; load its module or leave it out of the configuration"
        }
        _ => "",
    }
}
