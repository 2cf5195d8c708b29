//! A BIRD on a host of the LAN.

use std::process::{Child, Command, Stdio};

use super::attempt;

/// It ends with this value.
pub struct Bird(Child);

impl Bird {
    /// With routes of its own for its peers.
    pub fn start(host: &str, address: &str, asn: u32, own: &[&str], peers: &[&str]) -> Bird {
        Bird::start_with(host, address, asn, own, peers, "")
    }

    /// The same, with more for each session, such as `password "x";`.
    pub fn start_with(
        host: &str,
        address: &str,
        asn: u32,
        own: &[&str],
        peers: &[&str],
        more: &str,
    ) -> Bird {
        let statics: String = own
            .iter()
            .map(|prefix| format!(" route {prefix} blackhole;"))
            .collect();
        let mut text = format!(
            "router id {address};\nprotocol device {{ scan time 1; }}\nprotocol direct {{ ipv4; }}\nprotocol static {{ ipv4;{statics} }}\nprotocol kernel {{ persist; metric 0; ipv4 {{ export where source = RTS_BGP; import none; }}; }}\n"
        );
        for peer in peers {
            text += &format!(
                "protocol bgp {{ local {address} as {asn}; neighbor {peer} as 64512; graceful restart on; multihop; connect retry time 1; error wait time 1,2; {more} ipv4 {{ import all; export where source = RTS_STATIC; }}; }}\n"
            );
        }
        let config = format!("/run/{host}.conf");
        std::fs::write(&config, text).expect("written");
        let child = Command::new("ip")
            .args(["netns", "exec", host, "bird", "-f", "-c", &config])
            .args([
                "-s",
                &format!("/run/{host}.ctl"),
                "-P",
                &format!("/run/{host}.pid"),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("bird");
        Bird(child)
    }
}

/// What a BIRD answers; birdc fails for a prefix that is not there.
pub fn birdc(host: &str, command: &str) -> String {
    let output = attempt(&format!("birdc -s /run/{host}.ctl {command}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Since when a BIRD's sessions are up: the whole lines, so that a flap shows.
pub fn bgp_lines(host: &str) -> Vec<String> {
    let text = birdc(host, "show protocols");
    let lines = text.lines().filter(|line| line.contains("Established"));
    lines.map(str::to_owned).collect()
}

impl Drop for Bird {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
