//! What BGP peers need of the kernel: ways to them, and next hops that are pods.

mod node;

use std::collections::BTreeSet;

use dataplane::{Actual, Address, Reason, desired};
use node::{CALI, converge, input, ip, kernel, net};

fn routes(actual: &Actual) -> Vec<String> {
    actual.routes.iter().map(ToString::to_string).collect()
}

fn has(actual: &Actual, route: &str) -> bool {
    routes(actual).iter().any(|there| there == route)
}

/// The route is ours though it lies outside all pools, also for an agent that finds it at its start.
#[test]
fn a_peer_has_its_gateway_while_it_is_wanted() {
    let mut state = input();
    state.reachable_by.insert(ip("192.0.2.1"), ip("10.20.1.9"));
    let mut actual = kernel();
    converge(&state, &mut actual);
    let route = "192.0.2.1 via 10.20.1.9 dev ens192 proto bird";
    assert!(has(&actual, route), "{:#?}", routes(&actual));
    // Somebody else's of the same kind is not: the control.
    let foreign = dataplane::Route::bird(net("192.0.2.7/32"), node::via("10.20.1.9"));
    actual.routes.insert(foreign.clone());
    state.reachable_by.clear();
    converge(&state, &mut actual);
    assert!(!has(&actual, route) && actual.routes.contains(&foreign));

    state
        .reachable_by
        .insert(ip("192.0.2.1"), ip("203.0.113.9"));
    let refusals = desired(&state).refusals;
    let named = |r: &dataplane::Refusal| {
        r.reason == Reason::NextHopUnresolved && r.object == "192.0.2.1/32"
    };
    assert!(refusals.iter().any(named), "{refusals:?}");
}

#[test]
fn a_workload_s_interface_has_the_address_that_it_peers_with() {
    let mut state = input();
    let address = Address {
        interface: CALI.to_owned(),
        address: net("10.99.99.99/32"),
    };
    let own = BTreeSet::from([ip("10.99.99.99")]);
    state.workload_peering.insert(CALI.to_owned(), own);
    let mut actual = kernel();
    converge(&state, &mut actual);
    assert!(actual.addresses.contains(&address));
    let others = actual.addresses.len();
    state.workload_peering.clear();
    converge(&state, &mut actual);
    assert!(!actual.addresses.contains(&address));
    assert_eq!(actual.addresses.len(), others - 1, "nobody else's goes");
}

#[test]
fn a_next_hop_that_is_a_pod_is_reached_as_the_pod_is() {
    let mut state = input();
    let mut tell = |prefix: &str, hop: &str| {
        state.loc_rib.insert(net(prefix), BTreeSet::from([ip(hop)]));
    };
    tell("10.200.0.64/28", "10.200.0.193");
    tell("10.200.0.80/28", "10.200.1.193");
    // In a pool, and in nobody's block: no default route leads there.
    tell("10.200.0.96/28", "10.200.0.129");
    let mut actual = kernel();
    converge(&state, &mut actual);
    let local = format!("10.200.0.64/28 via 10.200.0.193 dev {CALI} proto bird onlink");
    assert!(has(&actual, &local), "{:#?}", routes(&actual));
    assert!(has(
        &actual,
        "10.200.0.80/28 via 10.20.1.85 dev ens192 proto bird"
    ));
    assert!(
        !routes(&actual)
            .iter()
            .any(|route| route.starts_with("10.200.0.96/28"))
    );
    let refusals = desired(&state).refusals;
    let named = |r: &dataplane::Refusal| {
        r.reason == Reason::NextHopUnresolved && r.object == "10.200.0.96/28"
    };
    assert!(refusals.iter().any(named), "{refusals:?}");
}

/// Calico's BIRD writes to the kernel what peers tell, whatever it is; ours takes away again only what it wrote.
#[test]
fn prefixes_outside_pools_are_ours_one_by_one() {
    let mut state = input();
    let mut tell = |prefix: &str| {
        state
            .loc_rib
            .insert(net(prefix), BTreeSet::from([ip("10.20.1.9")]));
    };
    tell("172.16.0.0/12");
    tell("172.16.5.0/24");
    tell("0.0.0.0/0");
    let mut actual = kernel();
    actual.routes.retain(|route| route.dst.prefix_len() > 0);
    // Inside what was told, and of our protocol, and still somebody else's.
    let foreign = dataplane::Route::bird(net("172.16.7.0/24"), node::via("10.20.1.8"));
    actual.routes.insert(foreign.clone());
    converge(&state, &mut actual);
    let told = ["0.0.0.0/0", "172.16.0.0/12", "172.16.5.0/24"].map(net);
    let ours = |actual: &Actual| {
        let via = node::via("10.20.1.9");
        told.map(|dst| {
            actual
                .routes
                .contains(&dataplane::Route::bird(dst, via.clone()))
        })
    };
    assert_eq!(ours(&actual), [true; 3], "{:#?}", routes(&actual));
    // An agent that knows nothing yet leaves them, and takes them away once peers have spoken.
    state.loc_rib.clear();
    for batch in dataplane::plan(&desired(&state), &actual, false) {
        dataplane::apply(&mut actual, &batch);
    }
    assert_eq!(ours(&actual), [true; 3]);
    converge(&state, &mut actual);
    assert_eq!(ours(&actual), [false; 3], "{:#?}", routes(&actual));
    assert!(actual.routes.contains(&foreign));
}

#[test]
fn routes_in_ranges_of_services_are_not_programmed() {
    let mut state = input();
    let prefix = net("10.200.0.64/28");
    state
        .loc_rib
        .insert(prefix, BTreeSet::from([ip("10.20.1.85")]));
    let is_there = |state: &_| {
        desired(state)
            .routes
            .iter()
            .any(|route| route.dst == prefix)
    };
    assert!(is_there(&state), "control");
    state.not_programmed.insert(net("10.200.0.0/25"));
    assert!(!is_there(&state));
    let refusals = desired(&state).refusals;
    assert!(
        refusals
            .iter()
            .any(|r| r.reason == Reason::PrefixInServiceRange),
        "{refusals:?}"
    );
}
