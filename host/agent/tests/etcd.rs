//! Agents on a real etcd: it is lost and comes back, and a cluster moves to it from SQLite.

mod world;

use std::path::Path;
use std::time::Duration;

use resource::{KeyPrefix, Store};
use rustix::process::Signal;
use store::block_on;
use store::testing::{Etcd, EtcdArgs, skipped};
use world::ping::Ping;
use world::{World, attempt, in_own_namespaces, run, wait_for};

const SECOND: Duration = Duration::from_secs(1);

/// An etcd on the LAN, where all nodes reach it.
fn etcd_on_the_lan() -> Etcd {
    run("ip address add 10.20.0.1/23 dev lan");
    let args = EtcdArgs {
        address: Some("10.20.0.1".to_string()),
        ..EtcdArgs::default()
    };
    Etcd::start_with(1, &args)
}

fn two_nodes(world: &mut World) {
    world.host("n84", "10.20.1.84/23");
    world.host("n85", "10.20.1.85/23");
    world.pool("pool", "10.200.0.0/23", |_| {});
    // Both at once, on an empty store.
    world.spawn("n84", &[]);
    world.spawn("n85", &[]);
    world.wait_ready("n84");
    world.wait_ready("n85");
    world.block("n84", "10.200.0.192/26");
    world.block("n85", "10.200.1.192/26");
    let route = "10.200.1.192/26 via 10.20.1.85 dev ens192 proto bird";
    world.wait_route("n84", route);
    let route = "10.200.0.192/26 via 10.20.1.84 dev ens192 proto bird";
    world.wait_route("n85", route);
    world.pod("n84", "p1", "10.200.0.193");
    world.pod("n85", "p2", "10.200.1.193");
    let reach = || {
        let ping = attempt("ip netns exec p1 ping -c 1 -W 1 10.200.1.193");
        ping.status.success()
    };
    wait_for("answer", 20 * SECOND, reach, || world.log("n84"));
}

/// Nothing was lost between the pods meanwhile.
fn none_lost(ping: Ping, world: &World) {
    let (sent, lost) = ping.stop();
    println!("{sent} sent, {lost} lost");
    assert!(sent > 100, "{sent}");
    assert_eq!(lost, 0, "of {sent}\n{}", world.log("n84"));
}

#[test]
fn nodes_on_etcd_outlive_it() {
    if skipped() {
        return;
    }
    in_own_namespaces("nodes_on_etcd_outlive_it", |directory: &Path| {
        let mut etcd = etcd_on_the_lan();
        let mut world = World::on(directory, "nodes_on_etcd_outlive_it", &etcd.endpoint(0));
        two_nodes(&mut world);
        let ping = Ping::start("p1", "10.200.1.193");
        let health = world.directory("n84").join("run").join(agent::HEALTH_FILE);
        let says = |text: &str| {
            let file = std::fs::read_to_string(&health).unwrap_or_default();
            file.contains(text)
        };

        etcd.kill(0);
        let unreadable = || says("store-unreadable: cannot reach etcd");
        wait_for("store-unreadable", 20 * SECOND, unreadable, || {
            world.log("n84")
        });
        // A node that starts meanwhile says what is wrong, and ends.
        let other = world.agent_command(
            "n85",
            &[("NODENAME", "n86"), ("SELVEDGE_TEST_DIRECTORY", "/run/n86")],
        );
        let other = { other }.output().expect("an end");
        let said = String::from_utf8_lossy(&other.stderr);
        assert!(
            !other.status.success() && said.contains("cannot reach etcd"),
            "{said}"
        );
        etcd.restart(0);
        world.wait_ready("n84");
        world.wait_ready("n85");

        // Compacted, so that whoever comes late lists again; and what is written now arrives.
        world.block("n85", "10.200.1.0/26");
        let revision = block_on(world.store.list(&KeyPrefix::All))
            .expect("a list")
            .revision;
        etcd.ctl(&["compact", &revision.to_string()]);
        world.wait_route("n84", "10.200.1.0/26 via 10.20.1.85 dev ens192 proto bird");
        world.end("n84", Signal::KILL);
        world.start("n84");
        world.wait_route("n84", "10.200.1.0/26 via 10.20.1.85 dev ens192 proto bird");
        none_lost(ping, &world);
    });
}

#[test]
fn a_cluster_moves_from_sqlite_to_etcd() {
    if skipped() {
        return;
    }
    in_own_namespaces("a_cluster_moves_from_sqlite_to_etcd", |directory: &Path| {
        let mut world = World::new(directory, "a_cluster_moves_from_sqlite_to_etcd");
        two_nodes(&mut world);
        let ping = Ping::start("p1", "10.200.1.193");
        let etcd = etcd_on_the_lan();
        // What export and import do.
        let listing = block_on(world.store.list(&KeyPrefix::All)).expect("a list");
        world.move_to(&etcd.endpoint(0));
        for entry in listing.entries {
            block_on(world.store.create(&entry.key, &entry.value)).expect("created");
        }
        for node in ["n84", "n85"] {
            world.end(node, Signal::TERM);
            world.start(node);
        }
        world.block("n85", "10.200.1.0/26");
        world.wait_route("n84", "10.200.1.0/26 via 10.20.1.85 dev ens192 proto bird");
        none_lost(ping, &world);
    });
}
