//! The command as a process: its time and its memory, with etcdctl beside it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::Site;
use crate::report::Report;

const POOLS: usize = 1000;

/// How often a command that takes milliseconds is run for one figure.
const REPEATS: usize = 10;

fn documents(kind: &str, count: usize, one: impl Fn(usize) -> String) -> String {
    let documents = (0..count).map(|i| {
        format!(
            "apiVersion: projectcalico.org/v3\nkind: {kind}\n{}\n",
            one(i)
        )
    });
    documents.collect::<Vec<_>>().join("---\n")
}

/// One node and a thousand pools.
pub fn seed(site: &Site, program: &Path) -> Result<()> {
    let pools = documents("IPPool", POOLS, |i| {
        let (high, low) = (i / 256, i % 256);
        format!(
            "metadata: {{name: pool-{i:04}}}\nspec: {{cidr: 10.{high}.{low}.0/24, disabled: true}}"
        )
    });
    let node = documents("Node", 1, |_| {
        "metadata: {name: node-1}\nspec: {bgp: {ipv4Address: 192.0.2.1/24}}".to_string()
    });
    for text in [pools, node] {
        let (output, _) = run(site, program, &["apply", "-f", "-"], &text)?;
        if !output.contains("Successfully applied") {
            bail!("the seed of {}: {output}", site.name());
        }
    }
    Ok(())
}

/// stdout, and milliseconds from the start to the end.
fn run(site: &Site, program: &Path, words: &[&str], stdin: &str) -> Result<(String, f64)> {
    let (name, value) = site.variable();
    let mut command = Command::new(program);
    command
        .args(words)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("ETCDCTL_API", "3")
        .env(name, value);
    timed(command, stdin)
}

fn timed(mut command: Command, stdin: &str) -> Result<(String, f64)> {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{command:?}"))?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(stdin.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let took = start.elapsed().as_secs_f64() * 1e3;
    if !output.status.success() {
        bail!("{command:?}: {}", output.status);
    }
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), took))
}

/// The middle of several times of a command.
fn often(site: &Site, program: &Path, words: &[&str]) -> Result<f64> {
    let mut times = (0..REPEATS)
        .map(|_| run(site, program, words, "").map(|(_, took)| took))
        .collect::<Result<Vec<_>>>()?;
    times.sort_by(f64::total_cmp);
    Ok(times[REPEATS / 2])
}

/// Resident memory at its highest, MiB, as GNU time has it from the kernel.
fn memory(site: &Site, program: &Path, words: &[&str]) -> Result<Option<f64>> {
    let file = tempfile::NamedTempFile::new()?;
    let Some(path) = file.path().to_str() else {
        bail!("a temporary file whose name is no text");
    };
    let mut all = vec![
        "-f",
        "%M",
        "-o",
        path,
        "--",
        program.to_str().unwrap_or_default(),
    ];
    all.extend(words);
    let time = Path::new("/usr/bin/time");
    if !time.exists() {
        return Ok(None);
    }
    run(site, time, &all, "")?;
    let kib: f64 = std::fs::read_to_string(path)?.trim().parse()?;
    Ok(Some(kib / 1024.0))
}

/// One run of each command.
pub fn measure(site: &Site, program: &Path, report: &mut Report) -> Result<()> {
    let one = ["get", "node", "node-1"];
    let all = ["get", "ippool"];
    report.add(
        "get of one object",
        site.name(),
        "ms",
        often(site, program, &one)?,
    );
    report.add(
        "get of 1,000 pools",
        site.name(),
        "ms",
        often(site, program, &all)?,
    );
    for (what, words) in [
        ("get of one object, memory", &one[..]),
        ("get of 1,000 pools, memory", &all[..]),
    ] {
        if let Some(mib) = memory(site, program, words)? {
            report.add(what, site.name(), "MiB", mib);
        }
    }
    let text = documents("BGPPeer", 1000, |i| {
        format!(
            "metadata: {{name: peer-{i:04}}}\nspec: {{peerIP: 192.0.{}.{}, asNumber: 65001}}",
            i / 250,
            i % 250 + 1
        )
    });
    let (_, took) = run(site, program, &["apply", "-f", "-"], &text)?;
    report.add("apply -f of 1,000 resources", site.name(), "ms", took);
    let (_, took) = run(site, program, &["delete", "-f", "-"], &text)?;
    report.add("delete -f of 1,000 resources", site.name(), "ms", took);

    if let Site::Etcd(etcd) = site {
        let endpoints = format!("--endpoints={}", etcd.endpoints());
        let root = "/calico/resources/v3/projectcalico.org";
        let (node, pools) = (format!("{root}/nodes/node-1"), format!("{root}/ippools/"));
        let one = [endpoints.as_str(), "get", &node];
        let all = [endpoints.as_str(), "get", "--prefix", &pools];
        let peer = Path::new("etcdctl");
        report.add(
            "get of one object",
            "etcdctl",
            "ms",
            often(site, peer, &one)?,
        );
        report.add(
            "get of 1,000 pools",
            "etcdctl",
            "ms",
            often(site, peer, &all)?,
        );
        if let Some(mib) = memory(site, peer, &one)? {
            report.add("get of one object, memory", "etcdctl", "MiB", mib);
        }
    }
    Ok(())
}
