//! A Profile, which is read from a Namespace or a ServiceAccount (calico-compat §3.4).
