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

/// A thousand pools.
pub fn seed(site: &Site, program: &Path) -> Result<()> {
    let pools = documents("IPPool", POOLS, |i| {
        let (high, low) = (i / 256, i % 256);
        format!(
            "metadata: {{name: pool-{i:04}}}\nspec: {{cidr: 10.{high}.{low}.0/24, disabled: true}}"
        )
    });
    let (output, _) = run(site, program, &["apply", "-f", "-"], &pools)?;
    if !output.contains("Successfully applied") {
        bail!("the seed of {}: {output}", site.name());
    }
    Ok(())
}

/// stdout, and milliseconds from the start to the end.
fn run(site: &Site, program: &Path, words: &[&str], stdin: &str) -> Result<(String, f64)> {
    let mut command = Command::new(program);
    command
        .args(words)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("ETCDCTL_API", "3")
        .envs(site.variables());
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

/// The object that is asked for alone.
const ONE: &str = "pool-0500";

/// One run of each command, and of those that stand beside it on etcd.
pub fn measure(site: &Site, program: &Path, report: &mut Report) -> Result<()> {
    commands(site, program, site.name(), report)?;
    if let Site::Etcd(etcd) = site {
        etcdctl(site, &etcd.endpoints(), report)?;
        if let Some(theirs) = std::env::var_os("CALICOCTL") {
            commands(site, Path::new(&theirs), "calicoctl", report)?;
        }
    }
    Ok(())
}

fn commands(site: &Site, program: &Path, name: &str, report: &mut Report) -> Result<()> {
    let one = ["get", "ippool", ONE];
    let all = ["get", "ippool"];
    for (what, words) in [
        ("get of one object", &one[..]),
        ("get of 1,000 pools", &all[..]),
    ] {
        report.add(what, name, "ms", often(site, program, words)?);
    }
    for (what, words) in [
        ("get of one object, memory", &one[..]),
        ("get of 1,000 pools, memory", &all[..]),
    ] {
        if let Some(mib) = memory(site, program, words)? {
            report.add(what, name, "MiB", mib);
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
    report.add("apply -f of 1,000 resources", name, "ms", took);
    let (_, took) = run(site, program, &["delete", "-f", "-"], &text)?;
    report.add("delete -f of 1,000 resources", name, "ms", took);
    Ok(())
}

fn etcdctl(site: &Site, endpoints: &str, report: &mut Report) -> Result<()> {
    let endpoints = format!("--endpoints={endpoints}");
    let pools = "/calico/resources/v3/projectcalico.org/ippools/";
    let pool = format!("{pools}{ONE}");
    let one = [endpoints.as_str(), "get", &pool];
    let all = [endpoints.as_str(), "get", "--prefix", pools];
    let peer = Path::new("etcdctl");
    for (what, words) in [
        ("get of one object", &one[..]),
        ("get of 1,000 pools", &all[..]),
    ] {
        report.add(what, "etcdctl", "ms", often(site, peer, words)?);
    }
    if let Some(mib) = memory(site, peer, &one)? {
        report.add("get of one object, memory", "etcdctl", "MiB", mib);
    }
    Ok(())
}
