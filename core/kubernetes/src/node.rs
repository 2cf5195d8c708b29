//! A Node, which is annotations on Kubernetes' own (calico-compat §3.3).
