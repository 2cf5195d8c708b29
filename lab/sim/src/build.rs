//! A world as a scenario describes it.

use scenario::Scenario;

use crate::bug::Bug;
use crate::host::Host;
use crate::world::World;

/// What the agent's daemon runs; hosts that run it are nodes.
const AGENT: &str = "selvedge node run";

/// The pool that start-up creates (calico/node's environment).
const POOL_CIDR: &str = "CALICO_IPV4POOL_CIDR";

impl World {
    /// The scenario's hosts, plugged in and switched on; its nodes' agents are about to start.
    ///
    /// # Errors
    /// What of the scenario the simulation cannot do, in words.
    pub fn build(scenario: &Scenario, seed: u64, bug: Option<Bug>) -> Result<World, String> {
        let mut world = World::new(seed, bug);
        let agents = scenario
            .daemons
            .iter()
            .filter(|daemon| daemon.run.trim_start().starts_with(AGENT));
        let nodes: Vec<&String> = agents
            .flat_map(|daemon| daemon.on.iter().map(|host| host.get_ref()))
            .collect();
        for description in &scenario.hosts {
            let name = description.name.get_ref();
            let mut host = Host::new(description, nodes.contains(&name));
            for words in &description.routes {
                host.add_route(words)
                    .map_err(|why| format!("host {name}: {why}"))?;
            }
            let profiles = description
                .profile
                .iter()
                .filter_map(|p| scenario.profiles.get(p.get_ref()));
            let sysctls = profiles
                .flat_map(|profile| &profile.sysctl)
                .chain(&description.sysctl);
            for (dotted, value) in sysctls {
                let path = dotted.replace('.', "/");
                host.set_sysctl(&path, value);
            }
            world.hosts.insert(name.clone(), host);
        }
        for name in nodes {
            world.register(name);
            world.start(name);
        }
        let pools = scenario
            .profiles
            .values()
            .filter_map(|profile| profile.env.get(POOL_CIDR));
        pools.for_each(|cidr| world.default_pool(cidr));
        Ok(world)
    }
}
