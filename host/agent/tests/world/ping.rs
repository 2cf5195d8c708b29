//! Pings that go on while something happens.

use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

/// Pings from a host, 5 ms apart, until stopped; then how many were sent and how many lost.
pub struct Ping(Child);

impl Ping {
    pub fn start(host: &str, target: &str) -> Ping {
        let child = Command::new("ip")
            .args(["netns", "exec", host, "ping", "-q", "-i", "0.005", target])
            .stdout(Stdio::piped())
            .spawn()
            .expect("ping");
        Ping(child)
    }

    pub fn stop(self) -> (u32, u32) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), Signal::INT)
            .expect("a signal");
        let output = self.0.wait_with_output().expect("an end");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let number = |word: &str| -> u32 {
            let line = text
                .lines()
                .find(|line| line.contains("packets transmitted"))
                .expect("a summary");
            let part = line
                .split(", ")
                .find(|part| part.contains(word))
                .expect("a count");
            part.split_whitespace()
                .next()
                .and_then(|n| n.parse().ok())
                .expect("a number")
        };
        (
            number("transmitted"),
            number("transmitted") - number("received"),
        )
    }
}
