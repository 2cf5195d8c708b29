//! A Service and its EndpointSlice, kept as a controller keeps them: the slice has the pods that are there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use resource::kinds::{Endpoint, EndpointPort, EndpointSliceSpec, ServicePort, ServiceSpec};
use resource::{Metadata, Object, Store};

use crate::tasks::now_or_never;
use crate::world::World;

/// The label that joins a slice to its Service (Kubernetes EndpointSlice API).
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A Service whose backends are the pods whose names begin with a stem.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its name, in the namespace `default`.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its port, and the pods'.
    pub port: u16,
    /// The beginning of its pods' names.
    pub stem: String,
}

impl World {
    /// Creates a Service and keeps its slice from now on.
    pub fn keep_service(&mut self, kept: Kept) {
        let spec = ServiceSpec {
            cluster_ip: kept.address.to_string(),
            ports: vec![ServicePort {
                name: "http".to_string(),
                port: kept.port,
                ..ServicePort::default()
            }],
            ..ServiceSpec::default()
        };
        let service = Object::new(Metadata::namespaced("default", &kept.name), spec);
        if let Err(error) = now_or_never(self.store.create(&service.key(), &service.to_stored())) {
            self.note(format_args!("service not written: {error}"));
        }
        self.kept.push(kept);
        self.publish_endpoints();
    }

    /// Writes the slices as the pods are now.
    pub fn publish_endpoints(&mut self) {
        for kept in self.kept.clone() {
            let pods = self.backends(&kept);
            let endpoints = pods.iter().filter_map(|label| {
                let pod = self.pods.get(label)?;
                Some(Endpoint {
                    addresses: vec![pod.address?.to_string()],
                    node_name: Some(pod.node.clone()),
                    ..Endpoint::default()
                })
            });
            let spec = EndpointSliceSpec {
                address_type: "IPv4".to_string(),
                endpoints: endpoints.collect(),
                ports: vec![EndpointPort {
                    name: "http".to_string(),
                    port: Some(kept.port),
                    ..EndpointPort::default()
                }],
            };
            let mut metadata = Metadata::namespaced("default", format!("{}-1", kept.name));
            metadata
                .labels
                .insert(SERVICE_NAME.to_string(), kept.name.clone());
            let slice = Object::new(metadata, spec);
            let (key, value) = (slice.key(), slice.to_stored());
            let written = match now_or_never(self.store.get(&key)) {
                Ok(Some(entry)) => now_or_never(self.store.update(&key, &value, entry.revision)),
                Ok(None) => now_or_never(self.store.create(&key, &value)),
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                self.note(format_args!("slice not written: {error}"));
            }
        }
        self.announce_store();
    }

    fn backends(&self, kept: &Kept) -> BTreeSet<String> {
        let stem = format!("default/{}", kept.stem);
        let there = self.pods.iter().filter(|(label, pod)| {
            let there = self.hosts.get(&pod.node).is_some_and(|host| host.powered);
            there && label.starts_with(&stem) && pod.address.is_some()
        });
        there.map(|(label, _)| label.clone()).collect()
    }

    /// Each kept Service's address and port with the pods that may answer for it.
    pub fn live_backends(&self) -> BTreeMap<(IpAddr, u16), BTreeSet<String>> {
        self.kept
            .iter()
            .map(|kept| ((kept.address, kept.port), self.backends(kept)))
            .collect()
    }
}
