//! The collector of addresses that nobody uses (calico-compat §7.7): one node's agent at a time does it, by a lease.

use std::io;
use std::thread;
use std::time::Duration;

use ipam::Ipam;
use ipam::collect::{Collector, GRACE_NS};
use ipam::lease::Lease;
use resource::kinds::ClusterInformation;
use resource::{Key, Kind, Store, StoreResult};
use store::{AnyStore, block_on};

use crate::event::{Event, ToLoop, now};

/// Between two looks (Calico: reconcilerPeriod).
const PERIOD: Duration = Duration::from_secs(5 * 60);

/// The lease's name in the store, and how long an agent that does not renew it still has it: two looks missed.
const LEASE: &str = "ipam-collector";
const LEASE_LENGTH: Duration = Duration::from_secs(12 * 60);

/// Starts the thread. It ends with the loop, at its next look that has something to say.
pub(crate) fn spawn(store: AnyStore, node: &str, to_loop: ToLoop) -> io::Result<()> {
    let mut watch = Watch::new(node);
    let body = move || {
        let mut failing = None;
        loop {
            let now = now();
            let result = block_on(watch.look(&store, now.mono, now.wall));
            let said = match result {
                Ok(lines) => {
                    failing = None;
                    lines
                        .into_iter()
                        .all(|line| to_loop.send(Event::Say(false, line)))
                }
                // Said once: the store's watch says when it can be read again.
                Err(why) if failing.as_ref() == Some(&why) => true,
                Err(why) => {
                    let line = format!("ipam-collector: {why}. It is tried again in five minutes.");
                    failing = Some(why);
                    to_loop.send(Event::Say(true, line))
                }
            };
            if !said {
                return;
            }
            thread::sleep(PERIOD);
        }
    };
    thread::Builder::new()
        .name("ipam-collector".to_string())
        .spawn(body)
        .map(drop)
}

/// What is remembered between looks.
struct Watch {
    lease: Lease,
    collector: Collector,
    holds: bool,
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Watch {
    fn new(node: &str) -> Watch {
        Watch {
            lease: Lease::new(LEASE, node, nanos(LEASE_LENGTH)),
            collector: Collector::new(GRACE_NS),
            holds: false,
        }
    }

    /// One look, where the lease is ours; lines for the log.
    async fn look<S: Store>(
        &mut self,
        store: &S,
        mono: Duration,
        wall: Duration,
    ) -> Result<Vec<String>, String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let holds = self.lease.hold(store, nanos(mono)).await;
        let holds = holds.map_err(|error| said(&error))?;
        if !holds {
            // Whoever has it now has not seen what this one has.
            self.holds = false;
            self.collector = Collector::new(GRACE_NS);
            return Ok(Vec::new());
        }
        if locked(store).await.map_err(|error| said(&error))? {
            // Whoever locked it wants it as it is.
            return Ok(Vec::new());
        }
        let ipam = Ipam::new(store);
        let Some(grace) = ipam.grace().await.map_err(|error| said(&error))? else {
            return Ok(Vec::new());
        };
        self.collector.set_grace(grace);
        let mut lines = Vec::new();
        if !std::mem::replace(&mut self.holds, true) {
            lines.push("this node releases the cluster's addresses that nobody uses".to_string());
        }
        let collected = ipam
            .collect(&mut self.collector, nanos(wall))
            .await
            .map_err(|error| said(&error))?;
        lines.extend(collected.iter().map(|one| format!("released {one}")));
        Ok(lines)
    }
}

/// Whether the datastore is locked (`calicoctl datastore migrate lock`).
pub(crate) async fn locked<S: Store>(store: &S) -> StoreResult<bool> {
    let key = Key::cluster(Kind::ClusterInformation, "default");
    let Some(entry) = store.get(&key).await? else {
        return Ok(false);
    };
    let information = ClusterInformation::from_entry(&entry)?;
    Ok(information.spec.datastore_ready == Some(false))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ipam::{Claimant, Owner};
    use resource::kinds::{ClusterInformationSpec, IpPoolSpec, NodeSpec, WorkloadEndpointSpec};
    use resource::{MemoryStore, Metadata, Object, Spec};

    use super::*;

    fn put<S: Spec>(store: &MemoryStore, metadata: Metadata, spec: S) {
        let object = Object::new(metadata, spec);
        block_on(store.create(&object.key(), &object.to_stored())).unwrap();
    }

    fn give(store: &MemoryStore, address: &str, container: &str) {
        let owner = Owner {
            handle: Some(format!("net.{container}")),
            attributes: BTreeMap::from([("node".to_string(), "a".to_string())]),
        };
        let address = address.parse().unwrap();
        block_on(Ipam::new(store).assign_ip(address, &owner, Claimant::Host("a"), 1)).unwrap();
    }

    #[test]
    fn one_of_two_agents_collects_and_the_other_takes_over() {
        let store = MemoryStore::new();
        put(&store, Metadata::named("a"), NodeSpec::default());
        let pool = IpPoolSpec {
            cidr: "10.0.0.0/26".to_string(),
            ..IpPoolSpec::default()
        };
        put(&store, Metadata::named("p"), pool);
        let spec = WorkloadEndpointSpec {
            ip_networks: vec!["10.0.0.1/32".to_string()],
            ..WorkloadEndpointSpec::default()
        };
        put(&store, Metadata::namespaced("default", "w"), spec);
        give(&store, "10.0.0.1", "used");
        give(&store, "10.0.0.2", "first");
        let (mut a, mut b) = (Watch::new("a"), Watch::new("b"));
        let look = |watch: &mut Watch, minutes: u64| {
            let time = Duration::from_secs(60 * minutes);
            block_on(watch.look(&store, time, time)).unwrap()
        };
        let begins = "this node releases the cluster's addresses that nobody uses";
        assert_eq!(look(&mut a, 0), [begins]);
        for minutes in [5, 10] {
            assert_eq!(look(&mut a, minutes), [""; 0]);
            assert_eq!(look(&mut b, minutes), [""; 0], "the other has the lease");
        }
        assert_eq!(
            look(&mut a, 15),
            ["released 10.0.0.2 of handle net.first: no workload has it"]
        );
        // The first one ends; the second waits for the lease, then as long as anybody for an address.
        give(&store, "10.0.0.3", "second");
        assert_eq!(look(&mut b, 16), [""; 0]);
        assert_eq!(look(&mut b, 27), [""; 0]);
        assert_eq!(look(&mut b, 28), [begins]);
        assert_eq!(look(&mut b, 42), [""; 0]);
        let spec = ClusterInformationSpec {
            datastore_ready: Some(false),
            ..ClusterInformationSpec::default()
        };
        put(&store, Metadata::named("default"), spec);
        assert_eq!(look(&mut b, 43), [""; 0], "locked");
        let key = Key::cluster(Kind::ClusterInformation, "default");
        block_on(store.delete(&key, None)).unwrap();
        assert_eq!(
            look(&mut b, 43),
            ["released 10.0.0.3 of handle net.second: no workload has it"]
        );
        let left = block_on(Ipam::new(&store).survey()).unwrap().allocations();
        assert_eq!(left.len(), 1, "one in use stays: {left:?}");
    }
}
