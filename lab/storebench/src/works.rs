//! What is measured in this process: addresses given out at the same time, and a change told to many.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use ipam::{Family, Ipam, Owner, PoolChoice, Request, Use};
use resource::kinds::{IpPool, IpPoolSpec, Node, NodeSpec};
use resource::{Key, KeyPrefix, Kind, Metadata, Store, StoreError};
use store::{AnyStore, block_on};

use crate::Site;
use crate::report::Report;

/// How long addresses are given out for one figure.
const ASSIGNING: Duration = Duration::from_secs(3);
const READERS: usize = 100;
/// Changes that are told one after the other for one figure.
const CHANGES: usize = 20;

fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The pool that addresses come from.
pub fn seed(site: &Site) -> Result<()> {
    let spec = IpPoolSpec {
        cidr: "172.16.0.0/14".to_string(),
        block_size: Some(26),
        ..IpPoolSpec::default()
    };
    let pool = IpPool::new(Metadata::named("pool"), spec);
    block_on(site.open()?.create(&pool.key(), &pool.to_stored()))?;
    Ok(())
}

/// Addresses a second with 1, 8 and 64 writers, each a node of its own with a connection of its own.
pub fn assigns(site: &Site, report: &mut Report) -> Result<()> {
    static TURN: AtomicU64 = AtomicU64::new(0);
    for writers in [1usize, 8, 64] {
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let hosts: Vec<(AnyStore, String)> = (0..writers)
            .map(|i| Ok((site.open()?, format!("bench-{turn}-{i}"))))
            .collect::<Result<_>>()?;
        for (store, host) in &hosts {
            let node = Node::new(Metadata::named(host), NodeSpec::default());
            block_on(store.create(&node.key(), &node.to_stored()))?;
        }
        let given = AtomicUsize::new(0);
        let begin = Barrier::new(writers + 1);
        let rate = thread::scope(|scope| -> Result<f64> {
            let threads: Vec<_> = hosts
                .iter()
                .map(|(store, host)| {
                    let (given, begin) = (&given, &begin);
                    scope.spawn(move || -> Result<()> {
                        begin.wait();
                        let end = Instant::now() + ASSIGNING;
                        for number in 0.. {
                            if Instant::now() >= end {
                                break;
                            }
                            assign(store, host, number)?;
                            given.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(())
                    })
                })
                .collect();
            begin.wait();
            let start = Instant::now();
            for thread in threads {
                thread
                    .join()
                    .map_err(|_| anyhow::anyhow!("a writer panicked"))??;
            }
            Ok(given.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64())
        })?;
        let what = format!("IPAM assigns a second, {writers} writers");
        report.add(&what, site.name(), "/s", rate);
        for (store, host) in &hosts {
            give_back(store, host)?;
        }
    }
    Ok(())
}

fn assign(store: &AnyStore, host: &str, number: usize) -> Result<()> {
    let owner = Owner {
        handle: Some(format!("net.{host}-{number}")),
        attributes: BTreeMap::from([("node".to_string(), host.to_string())]),
    };
    let request = Request {
        count: 1,
        family: Family::V4,
        owner: &owner,
        host,
        pools: PoolChoice::Automatic {
            namespace_labels: None,
        },
        intended: Use::Workload,
        max_blocks: Some(u32::MAX),
        windows: false,
    };
    let assigned = block_on(Ipam::new(store).auto_assign(&request, now()))?;
    assigned.addresses.first().context("no address was given")?;
    Ok(())
}

/// All of a node's addresses, blocks and itself; unmeasured.
fn give_back(store: &AnyStore, host: &str) -> Result<()> {
    let ipam = Ipam::new(store);
    let prefix = format!("net.{host}-");
    for entry in block_on(store.list(&KeyPrefix::Handles))?.entries {
        if let Key::Handle(id) = &entry.key
            && id.starts_with(&prefix)
        {
            block_on(ipam.release_by_handle(id))?;
        }
    }
    block_on(ipam.release_host(host))?;
    match block_on(store.delete(&Key::cluster(Kind::Node, host), None)) {
        Ok(_) | Err(StoreError::NotFound(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// From a write until a hundred readers, each with a connection of its own, have it.
pub fn fan_out(site: &Site, report: &mut Report) -> Result<()> {
    let writer = site.open()?;
    let key = Key::cluster(Kind::Node, "fan-out");
    let (told, tellings) = mpsc::channel();
    for _ in 0..READERS {
        let (store, told) = (site.open()?, told.clone());
        let mut cursor = block_on(store.list(&KeyPrefix::All))?.revision;
        // It opens its watch before anything is measured, and ends when nobody listens to it any more.
        block_on(store.changes(cursor))?;
        thread::spawn(move || {
            loop {
                let read =
                    block_on(store.wait(cursor)).and_then(|()| block_on(store.changes(cursor)));
                match read {
                    Ok(read) => {
                        cursor = read.revision;
                        if !read.changes.is_empty() && told.send(cursor).is_err() {
                            return;
                        }
                    }
                    Err(error) => panic!("a reader: {error}"),
                }
            }
        });
    }
    let mut times = Vec::new();
    for _ in 0..CHANGES {
        let start = Instant::now();
        let written = match block_on(writer.get(&key))? {
            None => block_on(writer.create(&key, "{}"))?,
            Some(entry) => block_on(writer.update(&key, "{}", entry.revision))?,
        };
        let mut have = 0;
        while have < READERS {
            let revision = tellings
                .recv_timeout(Duration::from_secs(30))
                .context("a reader was not told")?;
            have += usize::from(revision >= written.revision);
        }
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    drop(tellings);
    block_on(writer.delete(&key, None))?;
    times.sort_by(f64::total_cmp);
    report.add(
        "a change told to 100 readers",
        site.name(),
        "ms",
        times[CHANGES / 2],
    );
    Ok(())
}
