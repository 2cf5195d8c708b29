//! Pods, started and ended as a container runtime does: a network namespace, then the CNI plugin named in /etc/cni/net.d.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use scenario::Pod;
use serde_json::Value;

use crate::run::Runner;

/// A CNI call may take this long; a runtime gives it minutes.
const CNI_LIMIT: Duration = Duration::from_secs(20);

const CONFLIST: &str = "/etc/cni/net.d/10-calico.conflist";

impl Runner<'_> {
    /// Starts a pod and its program; says what the plugin answered.
    pub(crate) fn start_pod(&self, pod: &Pod) -> Result<String> {
        let (name, node, netns) = place(pod);
        self.on(
            node,
            &format!("ip netns add {netns} && ip -n {netns} link set lo up"),
        )?;
        let address = match (pod.wired, pod.address) {
            (true, Some(address)) => self.wire_pod(pod, address)?,
            _ => self.add(pod)?,
        };
        if let Some(resolv) = &self.scenario.pod_resolv {
            self.on(node, &format!("mkdir -p /etc/netns/{netns}; cat >/etc/netns/{netns}/resolv.conf <<'EOF'\n{resolv}\nEOF"))?;
        }
        self.addresses.borrow_mut().insert(name.to_owned(), address);
        let fill = |text: &str| {
            text.replace("{pod}", name)
                .replace("{address}", &address.to_string())
        };
        if let Some(run) = &pod.run {
            self.lab.start_program(name, name, &fill(run))?;
        }
        if let Some(ready) = &pod.ready {
            let waited = self
                .lab
                .wait_for(name, &fill(ready), Duration::from_secs(10));
            waited.with_context(|| {
                format!(
                    "pod {name}; its log ends: {}",
                    self.lab.log_tail(node, name)
                )
            })?;
        }
        Ok(format!("{name} {address} on {node}\n"))
    }

    /// Ends a pod's program, then its network; calling the plugin twice must be as good as once.
    pub(crate) fn end_pod(&self, pod: &Pod) -> Result<String> {
        let (name, node, netns) = place(pod);
        if pod.run.is_some() {
            // A program that has ended by itself is as good as one that we ended.
            let _ = self.lab.stop(name, node, "TERM");
        }
        if !pod.wired {
            for plugin in self.plugins(node)?.iter().rev() {
                self.call(pod, "DEL", plugin)?;
                self.call(pod, "DEL", plugin).context("the second time")?;
            }
        }
        self.on(node, &format!("ip netns del {netns}"))?;
        self.addresses.borrow_mut().remove(name);
        Ok(format!("{name} ended\n"))
    }

    fn add(&self, pod: &Pod) -> Result<Ipv4Addr> {
        let (name, node, netns) = place(pod);
        let mut result = Value::Null;
        for mut plugin in self.plugins(node)? {
            if !result.is_null() {
                plugin["prevResult"] = result;
            }
            let said = self.call(pod, "ADD", &plugin)?;
            result = serde_json::from_str(&said)
                .with_context(|| format!("the plugin's result is no JSON: {said}"))?;
        }
        let address = result.pointer("/ips/0/address").and_then(Value::as_str);
        let address = address
            .with_context(|| format!("no /ips/0/address in the plugin's result: {result}"))?;
        let address = address.split('/').next().unwrap_or(address);
        let parsed: Ipv4Addr = address
            .parse()
            .with_context(|| format!("{address} in the plugin's result"))?;
        if pod.address.is_some_and(|asked| asked != parsed) {
            bail!("pod {name} asked for {:?} and got {parsed}", pod.address);
        }
        let inside = self.on(node, &format!("ip -n {netns} -4 -o address show dev eth0"))?;
        if !inside.contains(&format!(" {address}/32 ")) {
            bail!("the plugin said {address}, but eth0 of {name} has: {inside}");
        }
        Ok(parsed)
    }

    /// The plugins of the conflist, each with what a runtime adds: the network's name and the version.
    fn plugins(&self, node: &str) -> Result<Vec<Value>> {
        let text = self.on(node, &format!("cat {CONFLIST}"))?;
        let list: Value = serde_json::from_str(&text)
            .with_context(|| format!("{CONFLIST} on {node} is no JSON"))?;
        let plugins = list["plugins"]
            .as_array()
            .with_context(|| format!("no plugins in {CONFLIST} on {node}"))?;
        let named = plugins.iter().map(|plugin| {
            let mut plugin = plugin.clone();
            plugin["name"] = list["name"].clone();
            plugin["cniVersion"] = list["cniVersion"].clone();
            plugin
        });
        Ok(named.collect())
    }

    fn call(&self, pod: &Pod, command: &str, plugin: &Value) -> Result<String> {
        let (name, node, netns) = place(pod);
        let kind = plugin["type"]
            .as_str()
            .with_context(|| format!("a plugin without type in {CONFLIST}"))?;
        let mut args = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={name}",
            pod.namespace
        );
        if let Some(address) = pod.address {
            args += &format!(";IP={address}");
        }
        let id = container_id(pod);
        // Errors of a plugin come as JSON on its standard output; its standard error is log.
        let text = format!(
            "CNI_COMMAND={command} CNI_CONTAINERID={id} CNI_NETNS=/var/run/netns/{netns} CNI_IFNAME=eth0 \
             CNI_PATH=/opt/cni/bin CNI_ARGS='{args}' /opt/cni/bin/{kind} 2>>/var/log/calico/cni/stderr.log <<'EOF'\n{plugin}\nEOF"
        );
        let output = self.lab.shell(node, &text, CNI_LIMIT)?;
        if output.status != 0 {
            let log = self
                .lab
                .shell(node, "tail -n 3 /var/log/calico/cni/stderr.log", CNI_LIMIT)?
                .text;
            bail!(
                "CNI {command} of {name} on {node}: exit status {}: {} {}",
                output.status,
                output.text.trim(),
                log.trim()
            );
        }
        Ok(output.text)
    }

    /// What a CNI plugin leaves behind, done by hand: for scenarios without one.
    fn wire_pod(&self, pod: &Pod, address: Ipv4Addr) -> Result<Ipv4Addr> {
        let (name, node, netns) = place(pod);
        let device = format!("cali{}", &container_id(pod)[..11]);
        let text = format!(
            "set -e
ip -batch - <<'EOF'
link add {device} address ee:ee:ee:ee:ee:ee type veth peer name eth0 netns {netns}
link set {device} up
route add {address} dev {device} scope link
EOF
ip -n {netns} -batch - <<'EOF'
address add {address}/32 dev eth0
link set eth0 up
route add 169.254.1.1 dev eth0 scope link
route add default via 169.254.1.1 dev eth0
EOF
cd /proc/sys/net/ipv4
echo 1 >conf/{device}/proxy_arp
echo 1 >conf/{device}/forwarding
echo 1 >conf/{device}/rp_filter
echo 0 >neigh/{device}/proxy_delay"
        );
        self.on(node, &text)
            .with_context(|| format!("wiring {name}"))?;
        Ok(address)
    }

    fn on(&self, node: &str, text: &str) -> Result<String> {
        let output = self.lab.shell(node, text, Duration::from_secs(10))?;
        match output.status {
            0 => Ok(output.text),
            status => bail!("exit status {status} on {node}: {}", output.text.trim()),
        }
    }
}

fn place(pod: &Pod) -> (&str, &str, String) {
    (
        pod.name.get_ref(),
        pod.node.get_ref(),
        format!("{}.{}", pod.namespace, pod.name.get_ref()),
    )
}

/// Sixty-four hexadecimal digits, as container runtimes name sandboxes; the same pod has the same in every run.
fn container_id(pod: &Pod) -> String {
    let part = |number: u64| {
        let mut hasher = DefaultHasher::new();
        (number, &pod.namespace, pod.name.get_ref()).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    };
    (0..4).map(part).collect()
}
