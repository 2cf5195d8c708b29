//! A WorkloadEndpoint, which is read from a Pod (calico-compat §3.4).
