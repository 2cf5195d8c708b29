//! A NetworkPolicy that is read from Kubernetes' own.
