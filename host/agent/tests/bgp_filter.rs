//! BGPFilters of a node that runs, with a real BIRD as the peer.

mod world;

use std::time::Duration;

use resource::Metadata;
use resource::kinds::{BgpConfiguration, BgpFilter, BgpPeer, BgpPeerSpec};
use world::bird::{Bird, bgp_lines, birdc};
use world::{World, in_own_namespaces, wait_for};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_bgp_filter_changes_what_a_peer_has_without_a_flap() {
    in_own_namespaces(
        "a_bgp_filter_changes_what_a_peer_has_without_a_flap",
        |directory| {
            let mut world = World::new(
                directory,
                "a_bgp_filter_changes_what_a_peer_has_without_a_flap",
            );
            for (name, address) in [
                ("n84", "10.20.1.84/23"),
                ("n85", "10.20.1.85/23"),
                ("vm", "10.20.1.206/23"),
            ] {
                world.host(name, address);
            }
            world.pool("pool", "10.200.0.0/23", |_| {});
            let filter = |spec: serde_json::Value| {
                let spec = serde_json::from_value(spec).expect("a BGPFilter's spec");
                BgpFilter::new(Metadata::named("tor"), spec)
            };
            world.apply(filter(serde_json::json!({})));
            world.apply(BgpPeer::new(
                Metadata::named("vm"),
                BgpPeerSpec {
                    node: "n84".into(),
                    peer_ip: "10.20.1.206".into(),
                    as_number: Some(65001),
                    filters: vec!["tor".into()],
                    ..Default::default()
                },
            ));
            world.start("n84");
            world.start("n85");
            world.block("n84", "10.200.0.192/26");
            world.block("n85", "10.200.1.192/26");
            let bird = Bird::start(
                "vm",
                "10.20.1.206",
                65001,
                &["10.200.0.64/26"],
                &["10.20.1.84"],
            );
            let (own, other) = ("10.200.0.192/26", "10.200.1.192/26");
            for block in [own, other] {
                world.wait_route(
                    "vm",
                    &format!("{block} via 10.20.1.84 dev ens192 proto bird"),
                );
            }
            let learnt = "10.200.0.64/26 via 10.20.1.206 dev ens192 proto bird";
            world.wait_route("n84", learnt);
            let since = bgp_lines("vm");
            assert_eq!(since.len(), 1, "{since:?}");
            let shows = |prefix: &str| birdc("vm", &format!("show route {prefix} all"));
            let has = |prefix: &str, what: &str| shows(prefix).contains(what);
            let within_a_second = |what: &str, holds: &dyn Fn() -> bool| {
                wait_for(what, SECOND, holds, || {
                    shows(own) + &shows(other) + &world.log("n84")
                });
            };
            // The session's own AS is what eBGP prepends, before what the filter does.
            world.apply(filter(serde_json::json!({
            "exportV4": [
                {"action": "Reject", "cidr": other, "matchOperator": "Equal", "source": "RemotePeers"},
                {"action": "Accept", "cidr": own, "matchOperator": "Equal", "peerType": "eBGP", "operations": [
                    {"addCommunity": {"value": "64512:7"}}, {"addCommunity": {"value": "64512:7:9"}},
                    {"prependASPath": {"prefix": [64999]}}]},
            ],
            "importV4": [{"action": "Reject", "cidr": "10.200.0.0/24", "matchOperator": "In", "prefixLength": {"min": 26, "max": 26}}],
        })));
            within_a_second("the other node's block is withdrawn", &|| {
                !has(other, "BGP")
            });
            within_a_second("the own block is changed", &|| {
                ["(64512,7)", "(64512, 7, 9)", "BGP.as_path: 64512 64999"]
                    .iter()
                    .all(|part| has(own, part))
            });
            within_a_second("what the peer sends is not used", &|| {
                !world.routes("n84").contains("10.200.0.64/26")
            });
            // A filter that says nothing any more; what import kept back was never forgotten.
            world.apply(filter(serde_json::json!({})));
            within_a_second("as before", &|| {
                has(other, "BGP.as_path: 64512\n")
                    && has(own, "BGP.as_path: 64512\n")
                    && !has(own, "(64512,7)")
                    && world.routes("n84").contains("10.200.0.64/26")
            });
            // Communities of prefixes go the same way.
            let spec = serde_json::json!({"prefixAdvertisements": [{"cidr": "10.200.0.0/23", "communities": ["64512:100"]}]});
            world.apply(BgpConfiguration::new(
                Metadata::named("default"),
                serde_json::from_value(spec).expect("a BGPConfiguration's spec"),
            ));
            within_a_second("a community on all", &|| {
                has(own, "(64512,100)") && has(other, "(64512,100)")
            });
            // A filter that is gone lets nothing through, and the session stands.
            let key = resource::Key::cluster(resource::Kind::BgpFilter, "tor");
            world.delete(&key);
            within_a_second("nothing is left", &|| {
                !has(own, "BGP") && !has(other, "BGP")
            });
            wait_for(
                "the reason",
                10 * SECOND,
                || world.log("n84").contains("bgp-filter-missing"),
                || world.log("n84"),
            );
            assert_eq!(bgp_lines("vm"), since, "a flap");
            drop(bird);
        },
    );
}
