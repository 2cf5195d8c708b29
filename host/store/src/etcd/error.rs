//! etcd's errors in the operator's words: which endpoint, what, how to mend it.

use resource::StoreError;

use super::grpc::Fault;
use super::options::EtcdOptions;

/// What a caller does about a fault.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cure {
    /// It was certainly not done: ask again, elsewhere.
    Again,
    /// The login is no longer known: connect anew, which logs in.
    Login,
    /// Whether it was done is not known.
    Unknown,
    /// It will not be done.
    Never,
}

/// gRPC's numbers.
const UNKNOWN: u32 = 2;
const INVALID_ARGUMENT: u32 = 3;
const DEADLINE_EXCEEDED: u32 = 4;
pub(super) const PERMISSION_DENIED: u32 = 7;
const RESOURCE_EXHAUSTED: u32 = 8;
pub(super) const OUT_OF_RANGE: u32 = 11;
pub(super) const UNAVAILABLE: u32 = 14;
const UNAUTHENTICATED: u32 = 16;

pub(super) fn cure(fault: &Fault) -> Cure {
    match fault {
        Fault::NotSent(_) => Cure::Again,
        Fault::Lost(_) => Cure::Unknown,
        Fault::Status { code, message } => match *code {
            UNAVAILABLE if message.contains("no leader") => Cure::Again,
            UNKNOWN if message.contains("raft proposal dropped") => Cure::Again,
            RESOURCE_EXHAUSTED if message.contains("too many requests") => Cure::Again,
            // "leader changed", "request timed out", "server stopped": it may be in the new leader's log.
            UNAVAILABLE | DEADLINE_EXCEEDED => Cure::Unknown,
            UNAUTHENTICATED => Cure::Login,
            INVALID_ARGUMENT if message.contains("revision of auth store is old") => Cure::Login,
            _ => Cure::Never,
        },
    }
}

/// How a peer ends a connection of which it does not understand a word.
const NOT_UNDERSTOOD: [&str; 3] = ["frame with invalid size", "connection reset", "broken pipe"];

/// What a person can do about an endpoint that cannot be used for `reason`.
pub(super) fn mended(endpoint: &str, reason: &str) -> String {
    // A peer that does not like our certificate, or that there is none, may be gone before its reason is read.
    let cut_off = NOT_UNDERSTOOD.iter().any(|words| reason.contains(words));
    let tls = endpoint.starts_with("https");
    let mend = if reason.contains("UnknownIssuer") {
        "; name the authority that signed it with ETCD_CA_CERT_FILE"
    } else if reason.contains("invalid peer certificate") {
        "; the endpoint must be named as its certificate names it, and both clocks be right"
    } else if reason.contains("fatal alert") || tls && cut_off {
        "; it asks for a client certificate of its own authority: ETCD_CERT_FILE and ETCD_KEY_FILE"
    } else if reason.contains("corrupt message") || reason.contains("handshake eof") {
        "; it does not speak TLS: write http:// if that is meant"
    } else if cut_off {
        "; it does not speak HTTP/2 here: if it has TLS, write https://"
    } else {
        ""
    };
    format!("{reason}{mend}")
}

/// No endpoint can be used.
pub(super) fn unreachable(options: &EtcdOptions, reasons: &[String]) -> StoreError {
    StoreError::Backend(format!(
        "cannot reach etcd ({}): {}. Start it, or mend the list of endpoints",
        options.origin,
        reasons.join(", ")
    ))
}

/// A fault of an endpoint that ends a call.
pub(super) fn final_fault(endpoint: &str, fault: &Fault, write: bool) -> StoreError {
    let unknown = match (write, cure(fault)) {
        (true, Cure::Unknown) => ". It may have been written or not: look before writing again",
        (true | false, _) => "",
    };
    let text = match fault {
        Fault::NotSent(reason) | Fault::Lost(reason) => {
            format!("etcd at {endpoint}: {}{unknown}", mended(endpoint, reason))
        }
        Fault::Status { code, message } => {
            let words = message.trim_start_matches("etcdserver: ");
            format!(
                "etcd at {endpoint}: {words}{}{unknown}",
                advice(*code, message)
            )
        }
    };
    StoreError::Backend(text)
}

fn advice(code: u32, message: &str) -> &'static str {
    match code {
        PERMISSION_DENIED => {
            "; the user's role must have readwrite on the prefixes /calico/ and /selvedge/ (`etcdctl role grant-permission ROLE readwrite --prefix=true /calico/`)"
        }
        INVALID_ARGUMENT if message.contains("authentication failed") => {
            "; mend ETCD_USERNAME and ETCD_PASSWORD"
        }
        INVALID_ARGUMENT if message.contains("user name is empty") => {
            "; it asks for a user: set ETCD_USERNAME and ETCD_PASSWORD"
        }
        RESOURCE_EXHAUSTED if message.contains("space exceeded") => {
            "; compact and defragment it, then `etcdctl alarm disarm`; nothing was changed"
        }
        INVALID_ARGUMENT | RESOURCE_EXHAUSTED
            if message.contains("too large") || message.contains("larger than max") =>
        {
            "; the object is larger than etcd takes (1.5 MiB unless it was told otherwise)"
        }
        UNAVAILABLE | DEADLINE_EXCEEDED => "; see that a majority of its members runs",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_done_is_done_again() {
        let status = |code, message: &str| Fault::Status {
            code,
            message: message.to_string(),
        };
        for (fault, expected) in [
            (Fault::NotSent(String::new()), Cure::Again),
            (Fault::Lost(String::new()), Cure::Unknown),
            (status(14, "etcdserver: no leader"), Cure::Again),
            (status(14, "etcdserver: leader changed"), Cure::Unknown),
            (status(14, "etcdserver: request timed out"), Cure::Unknown),
            (status(2, "raft proposal dropped"), Cure::Again),
            (status(8, "etcdserver: too many requests"), Cure::Again),
            (
                status(8, "etcdserver: mvcc: database space exceeded"),
                Cure::Never,
            ),
            (status(16, "etcdserver: invalid auth token"), Cure::Login),
            (status(7, "etcdserver: permission denied"), Cure::Never),
        ] {
            assert_eq!(cure(&fault), expected, "{fault:?}");
        }
    }
}
