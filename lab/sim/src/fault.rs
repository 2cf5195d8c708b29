//! Faults drawn from the seed: cables, agents, pods, and hands that meddle with a kernel.

use std::time::Duration;

use dataplane::{PROTOCOL_BIRD, Route};

use crate::world::World;

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug)]
enum Fault {
    CutCable,
    KillAgent,
    RestartAgent,
    RemoveRoute,
    ChangeSysctl,
    AddPod,
    RemovePod,
    KillAllocation,
    RacingPods,
}

const FAULTS: [Fault; 9] = [
    Fault::CutCable,
    Fault::KillAgent,
    Fault::RestartAgent,
    Fault::RemoveRoute,
    Fault::ChangeSysctl,
    Fault::AddPod,
    Fault::RemovePod,
    Fault::KillAllocation,
    Fault::RacingPods,
];

impl World {
    /// Lets `rounds` things go wrong, some time apart, then puts cables and agents back.
    pub fn trouble(&mut self, rounds: u32) {
        for round in 0..rounds {
            let fault = *self.random.pick(&FAULTS).expect("there are faults");
            self.wrong(fault, round);
            let pause = self
                .random
                .between(Duration::from_millis(10), Duration::from_secs(20));
            self.run_for(pause);
        }
        if self.random.chance(30) {
            self.lose_a_node();
        }
        self.heal();
    }

    /// A machine without a cluster ID loses its power and does not come back.
    fn lose_a_node(&mut self) {
        let Some(name) = self
            .hosts
            .iter()
            .filter(|(_, host)| host.is_node)
            .map(|(name, _)| name.clone())
            .next_back()
        else {
            return;
        };
        if let Some(host) = self.hosts.get_mut(&name) {
            (host.powered, host.process) = (false, None);
        }
        self.connections.forget(&name);
        self.note(format_args!("{name} is off for good"));
        self.publish_endpoints();
    }

    /// All cables in, all agents running, half-started pods ended.
    pub fn heal(&mut self) {
        let names: Vec<String> = self.hosts.keys().cloned().collect();
        for name in names {
            let Some(host) = self.hosts.get_mut(&name) else {
                continue;
            };
            host.ports.values_mut().for_each(|port| port.plugged = true);
            if host.is_node && host.powered && host.process.is_none() {
                self.start(&name);
            }
        }
        let stuck = self
            .pods
            .iter()
            .filter(|(_, pod)| pod.task.is_none() && pod.address.is_none());
        let stuck: Vec<String> = stuck.map(|(label, _)| label.clone()).collect();
        stuck.iter().for_each(|label| self.remove_pod(label));
        self.note("healed");
    }

    fn some_node(&mut self) -> Option<String> {
        let nodes: Vec<String> = self
            .hosts
            .iter()
            .filter(|(_, host)| host.is_node)
            .map(|(name, _)| name.clone())
            .collect();
        self.random.pick(&nodes).cloned()
    }

    fn wrong(&mut self, fault: Fault, round: u32) {
        let Some(node) = self.some_node() else { return };
        self.note(format_args!("fault {fault:?} at {node}"));
        match fault {
            Fault::CutCable => self.cut(&node),
            Fault::KillAgent | Fault::RestartAgent => {
                self.stop(&node, matches!(fault, Fault::RestartAgent));
                let away = self
                    .random
                    .between(Duration::from_millis(50), Duration::from_secs(30));
                self.run_for(away);
                self.start(&node);
            }
            Fault::RemoveRoute => self.remove_route(&node),
            Fault::ChangeSysctl => {
                if let Some(host) = self.hosts.get_mut(&node) {
                    let path = "net/ipv4/conf/all/send_redirects".to_string();
                    host.kernel.sysctls.insert(path, "1".to_string());
                }
                self.disturb(&node);
            }
            Fault::AddPod => self.add_pod("default", &format!("pod-{round}"), &node, None),
            Fault::RemovePod => {
                let pods: Vec<String> = self.pods.keys().cloned().collect();
                if let Some(label) = self.random.pick(&pods).cloned() {
                    self.remove_pod(&label);
                }
            }
            Fault::KillAllocation => {
                let label = format!("default/killed-{round}");
                self.add_pod("default", &format!("killed-{round}"), &node, None);
                let head_start = self
                    .random
                    .between(Duration::ZERO, Duration::from_millis(20));
                self.run_for(head_start);
                self.kill_allocation(&label);
            }
            Fault::RacingPods => {
                for racer in 0..4 {
                    let Some(node) = self.some_node() else { return };
                    self.add_pod("default", &format!("racer-{round}-{racer}"), &node, None);
                }
            }
        }
    }

    /// The plugin is killed where it stands; mostly the runtime then ends the sandbox.
    fn kill_allocation(&mut self, label: &str) {
        let Some(pod) = self.pods.get_mut(label) else {
            return;
        };
        let Some(task) = pod.task.take() else { return };
        self.tasks.kill(task);
        if self.random.chance(50) {
            self.remove_pod(label);
        }
    }

    /// Pulls a host's cables for a while.
    fn cut(&mut self, name: &str) {
        let plug = |world: &mut World, plugged: bool| {
            if let Some(host) = world.hosts.get_mut(name) {
                host.ports
                    .values_mut()
                    .for_each(|port| port.plugged = plugged);
            }
        };
        plug(self, false);
        let away = self
            .random
            .between(Duration::from_secs(1), Duration::from_secs(400));
        self.run_for(away);
        plug(self, true);
    }

    /// Somebody removes one of our routes by hand.
    fn remove_route(&mut self, name: &str) {
        let Some(host) = self.hosts.get(name) else {
            return;
        };
        let ours: Vec<Route> = host
            .kernel
            .routes
            .iter()
            .filter(|route| route.protocol == PROTOCOL_BIRD)
            .cloned()
            .collect();
        let Some(route) = self.random.pick(&ours).cloned() else {
            return;
        };
        if let Some(host) = self.hosts.get_mut(name) {
            host.kernel.routes.remove(&route);
        }
        self.disturb(name);
    }
}
