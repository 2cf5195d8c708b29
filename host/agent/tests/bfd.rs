//! Agents with BFD: what is lost when one is killed, and how soon the others know that a node is off.

mod world;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use world::ping::Ping;
use world::{World, in_own_namespaces, run, wait_for};

const BFD: (&str, &str) = ("SELVEDGE_BFD", "50x3");
const SECOND: Duration = Duration::from_secs(1);
const FAR: &str = "10.200.1.192/26 via 10.20.1.85 dev ens192 proto bird";

/// Two nodes with a pod each, and BFD up between them.
fn two_nodes(world: &mut World) {
    world.host("n84", "10.20.1.84/23");
    world.host("n85", "10.20.1.85/23");
    world.pool("pool", "10.200.0.0/23", |_| {});
    for name in ["n84", "n85"] {
        start(world, name);
    }
    world.block("n84", "10.200.0.192/26");
    world.block("n85", "10.200.1.192/26");
    world.pod("n84", "p1", "10.200.0.193");
    world.pod("n85", "p2", "10.200.1.193");
    world.wait_route("n84", FAR);
    world.wait_route(
        "n85",
        "10.200.0.192/26 via 10.20.1.84 dev ens192 proto bird",
    );
    wait_for_bfd(world);
}

fn start(world: &mut World, name: &str) {
    world.spawn(name, &[BFD]);
    world.wait_ready(name);
}

fn report(world: &World, name: &str) -> Option<liveness::Report> {
    let run = world.directory(name).join("run");
    liveness::show(&run.join(agent::LIVENESS_SOCKET)).ok()
}

fn is_up(world: &World, name: &str) -> bool {
    report(world, name).is_some_and(|report| {
        let [session] = &report.sessions[..] else {
            return false;
        };
        session.state == "up" && session.detection_time_us == 150_000 && report.claimed
    })
}

#[track_caller]
fn wait_for_bfd(world: &World) {
    for name in ["n84", "n85"] {
        let up = || is_up(world, name);
        wait_for("BFD", 20 * SECOND, up, || {
            format!("{:?}\n{}", report(world, name), world.log(name))
        });
    }
}

fn ups(world: &World, name: &str) -> u64 {
    report(world, name).expect("it runs").sessions[0].ups
}

/// Each way of ending as often as SELVEDGE_RESTARTS says.
fn restarts() -> u32 {
    let count = std::env::var("SELVEDGE_RESTARTS");
    count.ok().and_then(|n| n.parse().ok()).unwrap_or(2)
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn an_agent_that_is_killed_loses_nothing() {
    in_own_namespaces("an_agent_that_is_killed_loses_nothing", |directory| {
        let mut world = World::new(directory, "an_agent_that_is_killed_loses_nothing");
        two_nodes(&mut world);
        let process = report(&world, "n84").expect("it runs").pid;
        let ping = Ping::start("p2", "10.200.0.193");
        let back = Ping::start("p1", "10.200.1.193");
        for signal in [Signal::TERM, Signal::KILL] {
            for _ in 0..restarts() {
                world.end("n84", signal);
                let alone = || report(&world, "n84").is_some_and(|report| !report.claimed);
                wait_for("no owner", SECOND, alone, || world.log("n84"));
                start(&mut world, "n84");
                wait_for_bfd(&world);
                world.wait_route("n84", FAR);
            }
        }
        assert_eq!(report(&world, "n84").expect("it runs").pid, process);
        assert_eq!((ups(&world, "n84"), ups(&world, "n85")), (1, 1));
        for (what, ping) in [("there", ping), ("back", back)] {
            let (sent, lost) = ping.stop();
            println!(
                "{what}: {sent} sent, {lost} lost, {} ends of the agent, BFD 3 x 50 ms, priority {}, load {}",
                2 * restarts(),
                report(&world, "n84").expect("it runs").priority,
                load()
            );
            assert!(sent > 100);
            assert_eq!(lost, 0, "{what} of {sent}\n{}", world.log("n85"));
        }
        // Control: when the process that drives BFD is killed as well, the other node takes this one for dead.
        let before = world.routes("n85");
        world.end("n84", Signal::KILL);
        run(&format!("kill -KILL {process}"));
        let gone = || !world.routes("n85").contains("10.200.0.192/26");
        wait_for("loss of the route", 5 * SECOND, gone, || before.clone());
    });
}

/// Until the route to the other node's block is gone.
fn time_until_gone(world: &World, cut: impl FnOnce()) -> Duration {
    let start = Instant::now();
    cut();
    let gone = || !world.routes("n84").contains("10.200.1.192/26 via");
    while !gone() {
        assert!(start.elapsed() < 20 * SECOND, "{}", world.log("n84"));
    }
    start.elapsed()
}

#[test]
fn a_node_that_is_off_is_gone_within_200_ms() {
    in_own_namespaces("a_node_that_is_off_is_gone_within_200_ms", |directory| {
        let mut world = World::new(directory, "a_node_that_is_off_is_gone_within_200_ms");
        two_nodes(&mut world);
        for killed_before in [false, true] {
            let mut times = Vec::new();
            for _ in 0..5 {
                if killed_before {
                    // Then its routes are kept as those of one that restarts, until BFD knows better.
                    world.end("n85", Signal::KILL);
                    let closed = || world.log("n84").matches("Mesh_10_20_1_85").count() > 0;
                    wait_for("the end of the session", 5 * SECOND, closed, || {
                        world.log("n84")
                    });
                    assert!(world.routes("n84").contains(FAR), "kept");
                }
                times.push(time_until_gone(&world, || {
                    run("ip link set sw-n85 down");
                }));
                run("ip link set sw-n85 up");
                if killed_before {
                    start(&mut world, "n85");
                }
                world.wait_route("n84", FAR);
                wait_for_bfd(&world);
            }
            times.sort();
            println!(
                "node off{}: routes gone after: median {} ms, {} to {} ms, {} runs, load {}",
                if killed_before {
                    ", its agent killed before"
                } else {
                    ""
                },
                times[2].as_millis(),
                times[0].as_millis(),
                times[4].as_millis(),
                times.len(),
                load()
            );
            assert!(times[2] < limit(), "{times:?}");
        }
    });
}

/// The figure where the machine is its own; busy ones are given more.
fn limit() -> Duration {
    let slack = std::env::var("SELVEDGE_BFD_SLACK_MS");
    let slack: u64 = slack.ok().and_then(|ms| ms.parse().ok()).unwrap_or(0);
    Duration::from_millis(200 + slack)
}
