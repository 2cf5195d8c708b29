//! Two network namespaces joined by a veth pair: this process with all peers in one, the speaker under test in the other.

use anyhow::{Context, Result, ensure};
use linux::namespace::unshare;
use rustix::thread::UnshareFlags;
use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

const DUT_MAC: &str = "02:00:00:00:00:01";
const PEERS_MAC: &str = "02:00:00:00:00:02";

/// The namespace of the speaker under test. Made anew for each run; the kernel removes it with its last process.
pub struct Namespace {
    file: File,
}

impl Namespace {
    /// Makes both namespaces; the calling thread, the only one, is in the peers' from now on.
    ///
    /// # Errors
    /// When this machine does not allow it, or `ip` fails.
    pub fn enter(dut: Ipv4Addr, peers: &[Ipv4Addr]) -> Result<Namespace> {
        unshare(UnshareFlags::NEWNET).context("cannot make a network namespace")?;
        let file = File::open("/proc/self/ns/net")?;
        unshare(UnshareFlags::NEWNET)?;
        let namespace = Namespace { file };
        let mut ours = format!(
            "link set lo up\nlink add bench1 address {PEERS_MAC} type veth peer name bench0 address {DUT_MAC} netns {}\nlink set bench1 up\n",
            namespace.path()
        );
        let mut theirs =
            format!("link set lo up\nlink set bench0 up\naddress add {dut}/16 dev bench0\n");
        // Neighbours are permanent: no resolution while the clock runs, and no limit of the neighbour table.
        ours += &format!("neighbour add {dut} lladdr {DUT_MAC} dev bench1 nud permanent\n");
        for address in peers {
            ours += &format!("address add {address}/16 dev bench1\n");
            theirs +=
                &format!("neighbour add {address} lladdr {PEERS_MAC} dev bench0 nud permanent\n");
        }
        batch(Command::new("ip"), &ours)?;
        batch(namespace.command("ip"), &theirs)?;
        Ok(namespace)
    }

    /// A command that will run in the speaker's namespace; it is that process itself, not a child of it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path()))
            .arg("--")
            .arg(program);
        command
    }

    /// How `/proc/PID/ns/net` reads for processes in it.
    ///
    /// # Errors
    /// When /proc is not there.
    pub fn name(&self) -> Result<std::path::PathBuf> {
        Ok(std::fs::read_link(self.path())?)
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }
}

fn batch(mut ip: Command, lines: &str) -> Result<()> {
    let mut child = ip
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .context("ip")?;
    let mut input = child.stdin.take().context("a pipe was asked for")?;
    input.write_all(lines.as_bytes())?;
    drop(input);
    ensure!(child.wait()?.success(), "ip -batch failed");
    Ok(())
}
