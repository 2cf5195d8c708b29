//! The planner: one end from every way there, nothing foreign touched, nothing removed too soon.

mod node;

use std::collections::{BTreeMap, BTreeSet};

use dataplane::{
    Actual, Batch, DataplaneInput, Desired, Encapsulation, Lane, METRIC_BENEATH, Operation,
    PROTOCOL_BOOT, Pool, Reason, Route, RouteKind, Scope, Workload, apply, desired, nft, nft_text,
    plan, unmet,
};
use node::{CALI, backends, converge, input, ip, kernel, net, programmed, tcp, via};
use proptest::prelude::*;

/// What a node is told in the course of a day.
fn a_day() -> Vec<DataplaneInput> {
    let whole = input();
    let empty = DataplaneInput {
        node_addresses: whole.node_addresses.clone(),
        interfaces: whole.interfaces.clone(),
        allocated: Some(BTreeSet::new()),
        ..DataplaneInput::default()
    };
    let mut early = whole.clone();
    early.loc_rib.clear();
    early.services.clear();
    let mut another_next_hop = whole.clone();
    another_next_hop.loc_rib.insert(
        net("10.200.1.0/26"),
        BTreeSet::from([ip("10.20.1.85"), ip("10.20.1.82")]),
    );
    let mut more_backends = whole.clone();
    let many: Vec<String> = (1..=12).map(|last| format!("10.200.1.{last}")).collect();
    let many: Vec<(&str, u16)> = many.iter().map(|address| (address.as_str(), 80)).collect();
    more_backends
        .services
        .insert(tcp("10.210.0.10", 80), backends(&many));
    more_backends
        .services
        .insert(tcp("10.210.0.11", 443), backends(&many[..3]));
    let mut pod_gone = more_backends.clone();
    pod_gone.workloads.clear();
    pod_gone.allocated = Some(BTreeSet::new());
    let mut pool_grown = another_next_hop.clone();
    pool_grown.pools.insert(
        net("10.201.0.0/16"),
        Pool {
            nat_outgoing: false,
            encapsulation: Encapsulation::Never,
        },
    );
    pool_grown.blocks.insert(net("10.201.3.0/26"));
    vec![
        empty,
        early,
        whole,
        another_next_hop,
        more_backends,
        pod_gone,
        pool_grown,
    ]
}

fn end_of(states: &[DataplaneInput]) -> Actual {
    let mut actual = kernel();
    for state in states {
        converge(state, &mut actual);
    }
    actual
}

#[test]
fn every_way_leads_to_the_same_end() {
    let day = a_day();
    for last in &day {
        // Squashed: only the last state was ever seen. A route of a pod that is gone was the plugin's own.
        let squashed = end_of(std::slice::from_ref(last));
        let then = |states: Vec<DataplaneInput>| end_of(&[states, vec![last.clone()]].concat());
        let reversed: Vec<_> = day.iter().rev().cloned().collect();
        let split: Vec<_> = day
            .iter()
            .flat_map(|state| [state.clone(), day[0].clone(), state.clone()])
            .collect();
        for (name, end) in [
            ("as it came", then(day.clone())),
            ("reversed", then(reversed)),
            ("with empties", then(split)),
        ] {
            assert_eq!(end.routes, squashed.routes, "{name}");
            assert_eq!(end.tables, squashed.tables, "{name}");
            assert_eq!(end.neighbours, squashed.neighbours, "{name}");
            // A parameter that is no longer wanted stays as it is; a pod's go with its device.
            for (path, value) in desired(last).sysctls {
                assert_eq!(end.sysctls.get(&path), Some(&value), "{name}: {path}");
            }
        }
        assert_eq!(squashed.tables, desired(last).tables);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any order of states, each perhaps only half applied before the next: the last one's end.
    #[test]
    fn half_done_work_does_no_harm(order in prop::collection::vec((0usize..7, 0usize..40), 1..12)) {
        let day = a_day();
        let mut actual = kernel();
        for (state, done) in &order {
            let mut left = *done;
            for batch in plan(&desired(&day[*state]), &actual, true) {
                let some: Vec<_> = batch.operations.iter().take(left).cloned().collect();
                left -= some.len();
                apply(&mut actual, &Batch { operations: some, ..batch });
            }
        }
        let (last, _) = order.last().expect("one at least");
        converge(&day[*last], &mut actual);
        let squashed = end_of(std::slice::from_ref(&day[*last]));
        prop_assert_eq!(actual.routes, squashed.routes);
        prop_assert_eq!(actual.tables, squashed.tables);
        prop_assert_eq!(actual.neighbours, squashed.neighbours);
    }
}

#[test]
fn routes_look_as_in_the_how_to() {
    let shown: Vec<String> = programmed()
        .routes
        .iter()
        .map(ToString::to_string)
        .filter(|route| !route.starts_with("default"))
        .collect();
    let mut shown: Vec<&str> = shown.iter().map(String::as_str).collect();
    shown.sort_unstable();
    let mut expected = [
        "10.20.0.0/23 dev ens192 proto kernel scope link src 10.20.1.84",
        "blackhole 10.200.0.192/26 proto bird",
        "10.200.0.193 dev cali00b03047dbe scope link",
        "10.200.1.0/26 via 10.20.1.81 dev ens192 proto bird",
        "10.200.1.64/26 via 10.20.1.82 dev ens192 proto bird",
        "10.200.1.128/26 via 10.20.1.83 dev ens192 proto bird",
        "10.200.1.192/26 via 10.20.1.85 dev ens192 proto bird",
        "unreachable 10.200.0.0/23 proto bird metric 4294967295",
        "10.210.0.0/24 dev ens192 proto bird scope link src 10.20.1.84 metric 4294967295",
    ];
    expected.sort_unstable();
    assert_eq!(shown, expected);
}

#[test]
fn nothing_is_removed_before_in_sync() {
    let mut actual = programmed();
    let before = actual.clone();
    let nothing = desired(&a_day()[0]);
    for batch in plan(&nothing, &actual, false) {
        apply(&mut actual, &batch);
    }
    assert_eq!(actual.routes, before.routes);
    assert_eq!(actual.tables, before.tables);
    assert_eq!(actual.neighbours, before.neighbours);
    // Control: in sync, all of it goes.
    assert!(!plan(&nothing, &actual, true).is_empty());
    // And what is new is added before in sync as well.
    let mut fresh = kernel();
    for batch in plan(&desired(&input()), &fresh, false) {
        apply(&mut fresh, &batch);
    }
    assert_eq!(fresh, before);
}

#[test]
fn a_grown_pool_waits_for_in_sync_in_the_sets_of_rules() {
    let mut actual = programmed();
    let mut state = input();
    let pool = state.pools.remove(&net("10.200.0.0/23")).expect("there");
    state.pools.insert(net("10.200.0.0/16"), pool);
    let overlap = |actual: &Actual| {
        actual.tables[0].sets.iter().any(|(_, set)| {
            let prefixes: Vec<_> = set
                .elements
                .iter()
                .filter_map(|element| match element.as_slice() {
                    [nft::Value::Prefix(prefix)] => Some(*prefix),
                    _ => None,
                })
                .collect();
            prefixes.iter().any(|outer| {
                prefixes
                    .iter()
                    .any(|inner| outer != inner && outer.contains(inner))
            })
        })
    };
    for batch in plan(&desired(&state), &actual, false) {
        apply(&mut actual, &batch);
        assert!(!overlap(&actual), "the kernel would refuse this");
    }
    converge(&state, &mut actual);
    assert_eq!(actual.tables, desired(&state).tables);
}

#[test]
fn what_is_found_is_adopted() {
    let actual = programmed();
    assert_eq!(plan(&desired(&input()), &actual, false), []);
    assert_eq!(plan(&desired(&input()), &actual, true), []);
}

#[test]
fn foreign_objects_are_left_alone() {
    let mut actual = kernel();
    let foreign = [
        // Our protocol, outside our ranges: somebody's own BIRD.
        Route::bird(net("192.168.7.0/24"), via("10.20.1.9")),
        // Inside our ranges, another protocol.
        Route {
            protocol: 4,
            ..Route::bird(net("10.200.1.77/32"), via("10.20.1.9"))
        },
        // On the very key that we want.
        Route {
            protocol: 4,
            ..Route::bird(net("10.200.1.0/26"), via("10.20.1.9"))
        },
        // A network behind a cali device is not a workload's route.
        Route {
            protocol: PROTOCOL_BOOT,
            scope: Scope::Link,
            ..Route::bird(
                net("10.50.0.0/24"),
                RouteKind::Device {
                    oif: CALI.to_owned(),
                },
            )
        },
        // Another table.
        Route {
            table: 100,
            ..Route::bird(net("10.200.1.64/26"), via("10.20.1.9"))
        },
    ];
    actual.routes.extend(foreign.iter().cloned());
    for state in a_day() {
        converge(&state, &mut actual);
        for route in &foreign {
            assert!(actual.routes.contains(route), "{route}");
        }
    }
    let refusals = unmet(&desired(&input()), &actual);
    let named: Vec<_> = refusals
        .iter()
        .map(|refusal| (refusal.reason, refusal.object.as_str()))
        .collect();
    assert_eq!(
        named,
        [(
            Reason::RouteKeyTaken,
            "10.200.1.0/26 via 10.20.1.81 dev ens192 proto bird"
        )]
    );
    assert!(
        refusals[0]
            .text
            .contains("ip route del 10.200.1.0/26 via 10.20.1.9"),
        "{}",
        refusals[0]
    );
}

#[test]
fn a_pod_s_route_outlives_the_store_s_delay_but_not_its_address() {
    let mut state = input();
    let early = Route {
        protocol: PROTOCOL_BOOT,
        ..Route::bird(
            net("10.200.0.194/32"),
            RouteKind::Device {
                oif: "cali1".to_owned(),
            },
        )
    };
    let mut actual = programmed();
    actual.links.insert(
        "cali1".to_owned(),
        dataplane::Link {
            name: "cali1".to_owned(),
            ..actual.links[CALI].clone()
        },
    );
    actual.routes.insert(early.clone());
    // IPAM has given the address away; the workload is not in the store yet.
    state.allocated = Some(BTreeSet::from([ip("10.200.0.193"), ip("10.200.0.194")]));
    assert_eq!(plan(&desired(&state), &actual, true), []);
    // Nobody can say: it stays.
    state.allocated = None;
    assert_eq!(plan(&desired(&state), &actual, true), []);
    // Control: the address is free again.
    state.allocated = Some(BTreeSet::from([ip("10.200.0.193")]));
    converge(&state, &mut actual);
    assert!(!actual.routes.contains(&early));
}

#[test]
fn a_pool_that_went_while_we_were_away_takes_its_routes_along() {
    let mut actual = programmed();
    let mut state = input();
    state.pools.clear();
    state.blocks.clear();
    state.loc_rib.clear();
    let batches = plan(&desired(&state), &actual, true);
    let lanes: Vec<_> = batches
        .iter()
        .map(|batch| (batch.lane, batch.number, batch.follows))
        .collect();
    // The table's memory of the pool goes after its routes.
    assert_eq!(lanes, [(Lane::Routes, 1, None), (Lane::Rules, 2, Some(1))]);
    batches.iter().for_each(|batch| apply(&mut actual, batch));
    assert!(
        !actual
            .routes
            .iter()
            .any(|route| route.to_string().contains("10.200.1")),
        "{:#?}",
        actual.routes
    );
    assert_eq!(plan(&desired(&state), &actual, true), []);
}

#[test]
fn an_absent_interface_is_waited_for() {
    let mut actual = kernel();
    dataplane::remove_link(&mut actual, CALI);
    let wanted = desired(&input());
    converge(&input(), &mut actual);
    let refusals = unmet(&wanted, &actual);
    assert_eq!(
        refusals
            .iter()
            .map(|refusal| refusal.reason)
            .collect::<Vec<_>>(),
        [Reason::LinkDown]
    );
    // Control: it comes, and so does the rest.
    let with_link = kernel();
    actual.links = with_link.links;
    actual.sysctls.extend(
        with_link
            .sysctls
            .into_iter()
            .filter(|(path, _)| path.contains(CALI)),
    );
    converge(&input(), &mut actual);
    assert_eq!(unmet(&wanted, &actual), []);
    assert_eq!(
        actual.sysctls[&format!("net/ipv4/conf/{CALI}/proxy_arp")],
        "1"
    );
    assert_eq!(
        actual.sysctls[&format!("net/ipv4/conf/{CALI}/rp_filter")],
        "1"
    );
    assert_eq!(actual.sysctls["net/ipv4/conf/all/send_redirects"], "0");
    assert_eq!(actual.sysctls["net/ipv4/conf/ens192/send_redirects"], "0");
}

fn refusals(state: &DataplaneInput) -> Vec<(Reason, String)> {
    desired(state)
        .refusals
        .into_iter()
        .map(|refusal| (refusal.reason, refusal.object))
        .collect()
}

#[test]
fn what_cannot_be_had_has_a_name() {
    let mut state = input();
    let missing = (Reason::IpipNotInKernel, "10.200.0.0/23".to_owned());
    assert_eq!(refusals(&state), std::slice::from_ref(&missing));
    let block = "10.200.1.0/26";
    for (hop, reason) in [
        ("10.30.1.7", Reason::CrossSubnetWithoutIpip),
        ("10.20.1.81", Reason::IpipNotInKernel),
    ] {
        state.loc_rib.insert(net(block), BTreeSet::from([ip(hop)]));
        let there = refusals(&state)
            .iter()
            .any(|(found, object)| *found == reason && (object == block || reason == missing.0));
        assert!(there, "{hop}: {:?}", refusals(&state));
        let programmed = desired(&state)
            .routes
            .iter()
            .any(|route| route.dst == net(block));
        assert_eq!(programmed, reason == missing.0, "{hop}");
    }
    // With IPIP the other subnet is reached, and one's own stays plain.
    state.ipip_possible = true;
    state.tunnel_address = Some("10.200.0.194".parse().expect("an address"));
    state
        .loc_rib
        .insert(net(block), BTreeSet::from([ip("10.30.1.7")]));
    let wanted = desired(&state);
    assert_eq!(wanted.refusals, []);
    let shown: Vec<_> = wanted.routes.iter().map(ToString::to_string).collect();
    assert!(
        shown.contains(&"10.200.1.0/26 via 10.30.1.7 dev tunl0 proto bird onlink".to_owned()),
        "{shown:?}"
    );
    assert!(
        shown.contains(&"10.200.1.64/26 via 10.20.1.82 dev ens192 proto bird".to_owned()),
        "{shown:?}"
    );
    assert!(wanted.links.contains_key("tunl0") && wanted.addresses.len() == 1);
    let mut actual = kernel();
    converge(&state, &mut actual);

    vxlan_is_refused();

    let mut state = input();
    state
        .loc_rib
        .insert(net("192.0.2.0/24"), BTreeSet::from([ip("10.20.1.81")]));
    state
        .loc_rib
        .insert(net("10.210.0.0/24"), BTreeSet::from([ip("10.20.1.81")]));
    state.pools.insert(net("10.201.0.0/16"), Pool::default());
    state
        .loc_rib
        .insert(net("10.201.0.0/26"), BTreeSet::from([ip("10.30.1.7")]));
    let named: BTreeMap<_, _> = refusals(&state)
        .into_iter()
        .map(|(reason, object)| (object, reason))
        .collect();
    assert!(!named.contains_key("192.0.2.0/24"), "outside pools");
    assert_eq!(named["10.210.0.0/24"], Reason::PrefixInServiceRange);
    assert_eq!(named["10.201.0.0/26"], Reason::NextHopUnresolved);
    // Control: a route leads to the next hop.
    state.underlay = vec![Route {
        protocol: PROTOCOL_BOOT,
        ..Route::bird(net("0.0.0.0/0"), via("10.20.0.1"))
    }];
    let shown: Vec<_> = desired(&state)
        .routes
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        shown.contains(&"10.201.0.0/26 via 10.20.0.1 dev ens192 proto bird".to_owned()),
        "{shown:?}"
    );
}

fn vxlan_is_refused() {
    let mut state = input();
    for pool in state.pools.values_mut() {
        pool.encapsulation = Encapsulation::VxlanCrossSubnet;
    }
    state
        .loc_rib
        .insert(net("10.200.1.0/26"), BTreeSet::from([ip("10.30.1.7")]));
    let expected = [
        (Reason::VxlanNotProgrammed, "10.200.0.0/23".to_owned()),
        (Reason::CrossSubnetWithoutVxlan, "10.200.1.0/26".to_owned()),
    ];
    assert_eq!(refusals(&state), expected);
}

#[test]
fn backends_that_only_moved_are_not_gone() {
    let mut actual = programmed();
    let mut state = input();
    let gone_after = |actual: &mut Actual, state: &DataplaneInput| {
        let batches = plan(&desired(state), actual, true);
        let operations = batches.iter().flat_map(|batch| &batch.operations);
        let gone: Vec<_> = operations
            .flat_map(|operation| match operation {
                Operation::Nft(changes) => dataplane::removed_backends(changes),
                other => panic!("{other}"),
            })
            .map(|(frontend, backend)| (frontend.address, backend))
            .collect();
        batches.iter().for_each(|batch| apply(actual, batch));
        gone
    };
    state
        .services
        .insert(tcp("10.210.0.10", 80), backends(&[("10.200.1.193", 8080)]));
    assert_eq!(
        gone_after(&mut actual, &state),
        [(ip("10.210.0.10"), ip("10.200.0.193"))]
    );
    state.services.insert(
        tcp("10.210.0.10", 80),
        backends(&[("10.200.0.7", 80), ("10.200.1.193", 8080)]),
    );
    assert_eq!(gone_after(&mut actual, &state), []);
}

#[test]
fn a_second_route_of_ours_on_one_key_goes() {
    let mut actual = programmed();
    // Added by hand behind ours, with `ip route append`.
    let second = Route::bird(net("10.200.1.0/26"), via("10.20.1.99"));
    actual.routes.insert(second.clone());
    converge(&input(), &mut actual);
    assert!(!actual.routes.contains(&second));
}

#[test]
fn what_somebody_put_into_our_table_goes() {
    let mut actual = programmed();
    let whole = actual.tables.clone();
    let table = &mut actual.tables[0];
    table
        .chains
        .get_mut("refuse")
        .expect("there")
        .rules
        .push(nft::Rule::Foreign("accept".to_owned()));
    let strange = table.chains["refuse"].clone();
    table.chains.insert("theirs".to_owned(), strange);
    table
        .sets
        .get_mut("pools")
        .expect("there")
        .elements
        .insert(vec![nft::Value::Foreign(0)]);
    table
        .maps
        .get_mut("frontends")
        .expect("there")
        .elements
        .insert(vec![nft::Value::Foreign(0)], nft::Datum::Foreign);
    table
        .sets
        .insert("theirs".to_owned(), table.sets["pools"].clone());
    converge(&input(), &mut actual);
    assert_eq!(actual.tables, whole);
    // Another shape: the whole table is made anew, at once.
    actual.tables[0]
        .sets
        .get_mut("hairpin")
        .expect("there")
        .key
        .pop();
    let batches = plan(&desired(&input()), &actual, true);
    let [Batch { operations, .. }] = batches.as_slice() else {
        panic!("{batches:?}")
    };
    let [Operation::Nft(changes)] = operations.as_slice() else {
        panic!("{operations:?}")
    };
    assert!(
        nft_text::transaction(changes)
            .starts_with("delete table ip selvedge\nadd table ip selvedge\n")
    );
    converge(&input(), &mut actual);
    assert_eq!(actual.tables, whole);
}

#[test]
fn two_thousand_services_are_one_transaction_and_one_more_is_a_few_elements() {
    let mut state = input();
    for index in 0..2000u32 {
        let address = std::net::Ipv4Addr::from(0x0ad2_0100 + index).to_string();
        state.services.insert(
            tcp(&address, 80),
            backends(&[("10.200.1.3", 80), ("10.200.1.4", 80)]),
        );
    }
    state.service_ranges = BTreeSet::from([net("10.210.0.0/16")]);
    let mut actual = kernel();
    converge(&state, &mut actual);
    state
        .services
        .insert(tcp("10.210.200.1", 80), backends(&[("10.200.1.3", 80)]));
    let batches = plan(&desired(&state), &actual, true);
    let text: String = batches
        .iter()
        .flat_map(|batch| &batch.operations)
        .map(|operation| match operation {
            Operation::Nft(changes) => nft_text::transaction(changes),
            other => panic!("{other}"),
        })
        .collect();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "add element ip selvedge service-addresses { 10.210.200.1 }",
            "add element ip selvedge backend-addresses { 10.210.200.1 . tcp . 80 . 0 : 10.200.1.3 }",
            "add element ip selvedge backend-ports { 10.210.200.1 . tcp . 80 . 0 : 80 }",
            "add element ip selvedge frontends { 10.210.200.1 . tcp . 80 : goto slots-1 }",
        ]
    );
}

/// What the changes of a plan do to the set of service ranges, as text; each change in its place.
fn service_range_lines(batches: &[Batch]) -> Vec<String> {
    let operations = batches.iter().flat_map(|batch| &batch.operations);
    let texts = operations.filter_map(|operation| match operation {
        Operation::Nft(changes) => Some(nft_text::transaction(changes)),
        _ => None,
    });
    let lines: Vec<String> = texts
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let ours = lines
        .into_iter()
        .filter(|line| line.contains(" selvedge service-ranges "));
    ours.collect()
}

/// The kernel refuses an element of an interval set that overlaps another.
#[test]
fn a_range_that_takes_in_others_comes_as_they_leave() {
    // The service of `input` has 10.210.0.13, which is a range of its own where no other holds it.
    let mut state = input();
    let narrow = BTreeSet::from([net("10.210.0.10/32"), net("10.210.0.20/32")]);
    let wide = BTreeSet::from([net("10.210.0.0/24")]);
    let mut actual = kernel();
    for (ranges, expected) in [
        (
            &narrow,
            vec![
                "add element ip selvedge service-ranges { 10.210.0.10/32, 10.210.0.13/32, 10.210.0.20/32 }",
            ],
        ),
        (
            &wide,
            vec![
                "delete element ip selvedge service-ranges { 10.210.0.10/32, 10.210.0.13/32, 10.210.0.20/32 }",
                "add element ip selvedge service-ranges { 10.210.0.0/24 }",
            ],
        ),
        (
            &narrow,
            vec![
                "delete element ip selvedge service-ranges { 10.210.0.0/24 }",
                "add element ip selvedge service-ranges { 10.210.0.10/32, 10.210.0.13/32, 10.210.0.20/32 }",
            ],
        ),
    ] {
        state.service_ranges = ranges.clone();
        let lines = service_range_lines(&plan(&desired(&state), &actual, true));
        let elements: Vec<&str> = lines
            .iter()
            .map(String::as_str)
            .filter(|line| line.contains(" element "))
            .collect();
        assert_eq!(elements, expected);
        converge(&state, &mut actual);
    }
}

#[test]
fn reasons_have_names_and_come_back_from_them() {
    let symptoms = include_str!("../../../docs/symptoms.md");
    for reason in Reason::ALL {
        assert_eq!(Reason::from_name(reason.name()), Some(reason));
        let row = format!("| `{}` |", reason.name());
        assert!(
            symptoms.contains(&row),
            "docs/symptoms.md has no row for {reason}"
        );
    }
    assert_eq!(Reason::from_name("none-such"), None);
}

#[test]
fn a_workload_on_a_borrowed_address_keeps_its_own_route() {
    let mut state = input();
    state.workloads.insert(
        ip("10.200.1.5"),
        Workload {
            interface: CALI.to_owned(),
            mac: None,
        },
    );
    let wanted: Desired = desired(&state);
    let kinds: Vec<_> = wanted
        .routes
        .iter()
        .filter(|route| route.dst == net("10.200.1.5/32"))
        .map(|r| &r.kind)
        .collect();
    assert_eq!(
        kinds,
        [&RouteKind::Device {
            oif: CALI.to_owned()
        }]
    );
    assert!(
        wanted
            .routes
            .iter()
            .any(|route| route.metric == METRIC_BENEATH)
    );
}
