//! Whose interface it is: names, and the WorkloadEndpoint.

use std::collections::BTreeMap;

use kubernetes::profile;
use resource::kinds::{
    INTERFACE_PREFIX, WorkloadEndpoint, WorkloadEndpointName, WorkloadEndpointSpec, pod_interface,
};
use resource::{Entry, Key, Kind, Metadata, Object, Store, StoreError};
use store::{AnyStore, block_on};

use crate::call::Call;
use crate::conf::NetConf;
use crate::failure::Failure;
use crate::world;

/// How often a write is tried when others write in between.
const TRIES: usize = 10;

/// Who asks: a pod, or a container that nobody calls a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub node: String,
    pub namespace: String,
    /// Absent for a plain container.
    pub pod: Option<String>,
    pub container_id: String,
    /// The interface inside.
    pub endpoint: String,
}

impl Identity {
    pub fn of(call: &Call, node: String) -> Identity {
        let pod = call.pod();
        Identity {
            node,
            namespace: pod
                .map_or("default", |(namespace, _)| namespace)
                .to_string(),
            pod: pod.map(|(_, name)| name.to_string()),
            container_id: call.container_id.clone(),
            endpoint: call.interface.clone(),
        }
    }

    pub fn orchestrator(&self) -> &'static str {
        if self.pod.is_some() { "k8s" } else { "cni" }
    }

    fn spec(&self) -> WorkloadEndpointSpec {
        WorkloadEndpointSpec {
            orchestrator: self.orchestrator().to_string(),
            node: self.node.clone(),
            container_id: self.container_id.clone(),
            pod: self.pod.clone().unwrap_or_default(),
            endpoint: self.endpoint.clone(),
            ..WorkloadEndpointSpec::default()
        }
    }

    /// The WorkloadEndpoint's name (calico-compat §2.4).
    pub fn name(&self) -> Result<String, Failure> {
        let name = WorkloadEndpointName::of(&self.spec());
        let name = name.map_err(|e| {
            Failure::internal(format!(
                "error constructing WorkloadEndpoint name: {}: {}",
                e.field, e.reason
            ))
        })?;
        Ok(name.to_string())
    }

    pub fn key(&self) -> Result<Key, Failure> {
        Ok(Key::in_namespace(
            Kind::WorkloadEndpoint,
            &self.namespace,
            self.name()?,
        ))
    }

    /// The host end's name (calico-compat §8.3): of the pod, so that a new sandbox of the same pod takes the same one.
    pub fn host_interface(&self) -> String {
        match &self.pod {
            Some(pod) => {
                let prefixes = std::env::var("FELIX_INTERFACEPREFIX").unwrap_or_default();
                let prefix = prefixes
                    .split(',')
                    .next()
                    .filter(|p| !p.is_empty())
                    .unwrap_or(INTERFACE_PREFIX);
                pod_interface(prefix, &self.namespace, pod)
            }
            None => {
                let short: String = self.container_id.chars().take(11).collect();
                format!("{INTERFACE_PREFIX}{short}")
            }
        }
    }

    /// The handle of its addresses.
    pub fn handle(&self, conf: &NetConf) -> String {
        format!("{}.{}", conf.name, self.container_id)
    }
}

/// The endpoint as it is stored, and the revision; `None` when there is none.
pub fn read(store: &AnyStore, key: &Key) -> Result<Option<(WorkloadEndpoint, Entry)>, Failure> {
    let Some(entry) = block_on(store.get(key))? else {
        return Ok(None);
    };
    Ok(Some((Object::from_entry(&entry)?, entry)))
}

/// The labels of the pod's namespace, which pools select by: its profile has them.
pub fn namespace_labels(
    store: &AnyStore,
    identity: &Identity,
) -> Result<Option<BTreeMap<String, String>>, Failure> {
    if identity.pod.is_none() {
        return Ok(None);
    }
    let name = profile::name_of_namespace(&identity.namespace);
    let Some(entry) = block_on(store.get(&Key::cluster(Kind::Profile, name)))? else {
        return Ok(None);
    };
    Ok(Some(profile::namespace_labels(&Object::from_entry(
        &entry,
    )?)))
}

/// What ADD has found out about the interface.
pub struct Made<'a> {
    pub addresses: &'a [String],
    pub interface: &'a str,
    pub mac: &'a str,
}

/// Writes the endpoint, over an older one of the same name where there is one.
pub fn write(
    store: &AnyStore,
    conf: &NetConf,
    identity: &Identity,
    made: &Made<'_>,
) -> Result<(), Failure> {
    let key = identity.key()?;
    let spec = WorkloadEndpointSpec {
        ip_networks: made.addresses.to_vec(),
        profiles: profiles(conf, identity),
        interface_name: made.interface.to_string(),
        mac: made.mac.to_string(),
        ..identity.spec()
    };
    let labels = [
        ("projectcalico.org/namespace", identity.namespace.as_str()),
        ("projectcalico.org/orchestrator", identity.orchestrator()),
    ];
    let mut last = Failure::internal("the WorkloadEndpoint was never written");
    for _ in 0..TRIES {
        let found = read(store, &key)?;
        let mut metadata = match &found {
            Some((existing, _)) => existing.metadata.clone(),
            None => Metadata {
                uid: Some(world::new_uid()?),
                creation_timestamp: Some(ipam::time::rfc3339(world::now())),
                ..Metadata::namespaced(&identity.namespace, identity.name()?)
            },
        };
        metadata.resource_version = None;
        metadata
            .labels
            .extend(labels.map(|(k, v)| (k.to_string(), v.to_string())));
        let text = Object::new(metadata, spec.clone()).to_stored();
        let written = match &found {
            Some((_, entry)) => block_on(store.update(&key, &text, entry.revision)),
            None => block_on(store.create(&key, &text)),
        };
        match written {
            Ok(_) => return Ok(()),
            Err(e) => last = e.into(),
        }
    }
    Err(last)
}

/// Without Kubernetes' policy the profile is the network's own; with it, the namespace's.
fn profiles(conf: &NetConf, identity: &Identity) -> Vec<String> {
    if identity.pod.is_some() && conf.policy.kind == "k8s" {
        vec![profile::name_of_namespace(&identity.namespace)]
    } else {
        vec![conf.name.clone()]
    }
}

/// Removes the endpoint that was read, unless it is another sandbox's by now. Who else writes to it (in Kubernetes the kubelet, all
/// the time) does not keep it.
pub fn remove(store: &AnyStore, entry: &Entry, container_id: &str) -> Result<(), Failure> {
    let mut revision = entry.revision;
    for _ in 0..TRIES {
        match block_on(store.delete(&entry.key, Some(revision))) {
            Ok(_) | Err(StoreError::NotFound(_)) => return Ok(()),
            Err(StoreError::Conflict(_)) => (),
            Err(e) => return Err(e.into()),
        }
        match read(store, &entry.key)? {
            Some((newer, entry)) if newer.spec.container_id == container_id => {
                revision = entry.revision;
            }
            Some(_) | None => return Ok(()),
        }
    }
    Err(Failure::internal(format!(
        "{} is written to all the time: it could not be removed in {TRIES} tries",
        entry.key
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(pod: Option<&str>) -> Identity {
        Identity {
            node: "node-1".to_string(),
            namespace: "default".to_string(),
            pod: pod.map(str::to_string),
            container_id: "c0123456789ab".to_string(),
            endpoint: "eth0".to_string(),
        }
    }

    #[test]
    fn names_are_calico_s() {
        assert_eq!(
            identity(None).name().unwrap(),
            "node--1-cni-c0123456789ab-eth0"
        );
        assert_eq!(
            identity(Some("my-pod-a")).name().unwrap(),
            "node--1-k8s-my--pod--a-eth0"
        );
        assert_eq!(identity(None).host_interface(), "calic0123456789");
    }

    #[test]
    fn the_stored_endpoint_is_the_captured_one() {
        let file = tempfile::tempdir().unwrap();
        let conf = NetConf {
            name: "k8s-pod-network".to_string(),
            sqlite_path: file.path().join("s.db").to_str().unwrap().to_string(),
            ..NetConf::default()
        };
        let store = world::open_store(&conf).unwrap();
        let made = Made {
            addresses: &["10.244.84.128/32".to_string()],
            interface: "calic0123456789",
            mac: "06:26:04:e8:63:50",
        };
        write(&store, &conf, &identity(None), &made).unwrap();
        let key = identity(None).key().unwrap();
        assert_eq!(
            key.path(),
            "/calico/resources/v3/projectcalico.org/workloadendpoints/default/node--1-cni-c0123456789ab-eth0"
        );
        let (object, entry) = read(&store, &key).unwrap().unwrap();
        let metadata = &object.metadata;
        let (uid, created) = (
            metadata.uid.clone().unwrap(),
            metadata.creation_timestamp.clone().unwrap(),
        );
        let captured = r#"{"kind":"WorkloadEndpoint","apiVersion":"projectcalico.org/v3","metadata":{"name":"node--1-cni-c0123456789ab-eth0","namespace":"default","uid":"UID","creationTimestamp":"CREATED","labels":{"projectcalico.org/namespace":"default","projectcalico.org/orchestrator":"cni"}},"spec":{"orchestrator":"cni","node":"node-1","containerID":"c0123456789ab","endpoint":"eth0","ipNetworks":["10.244.84.128/32"],"profiles":["k8s-pod-network"],"interfaceName":"calic0123456789","mac":"06:26:04:e8:63:50"}}"#;
        assert_eq!(
            entry.value,
            captured.replace("UID", &uid).replace("CREATED", &created)
        );
        assert_eq!(uid.len(), 36);

        let again = Made {
            mac: "aa:aa:aa:aa:aa:aa",
            ..made
        };
        let newer = Identity {
            container_id: "newer".to_string(),
            ..identity(Some("web"))
        };
        let key = newer.key().unwrap();
        write(&store, &conf, &identity(Some("web")), &again).unwrap();
        let (older, stale) = read(&store, &key).unwrap().unwrap();
        write(&store, &conf, &newer, &again).unwrap();
        let (renewed, _) = read(&store, &key).unwrap().unwrap();
        assert_eq!(renewed.metadata.uid, older.metadata.uid);
        assert_eq!(renewed.spec.mac, "aa:aa:aa:aa:aa:aa");
        remove(&store, &stale, "c0123456789ab").unwrap();
        assert!(
            read(&store, &key).unwrap().is_some(),
            "another sandbox's is not removed"
        );
        // What somebody else has written to is still the sandbox's own.
        remove(&store, &stale, "newer").unwrap();
        assert!(read(&store, &key).unwrap().is_none());
    }
}
