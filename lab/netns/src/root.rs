//! A host's file system: the machine's programs, and directories of its own at the paths that production uses.
//!
//! An ordinary user cannot make a mount point in `/`, so each host gets a new root on the lab's tmpfs: what the machine
//! has is bound in from it, what a host must have for itself (/etc, /var, /run, /tmp, /root, /opt) is made anew, and
//! entries of the machine's /etc, /var and /opt that a host does not replace are links into `/.machine`.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, unmount};

use crate::plan::{HostPlan, Plan};

/// Made empty on every host: paths that daemons, runtimes and our own programs use in production.
const OWN_DIRS: &[&str] = &[
    "etc/bird",
    "etc/calico",
    "etc/cni/net.d",
    "etc/dnsmasq.d",
    "etc/selvedge",
    "opt/cni/bin",
    "opt/selvedge/bin",
    "root",
    "run/bird",
    "run/calico",
    "run/dnsmasq",
    "run/lab",
    "run/lock",
    "run/netns",
    "run/nginx",
    "var/cache",
    "var/lib/calico",
    "var/lib/cni",
    "var/lib/misc",
    "var/lib/nginx",
    "var/lib/selvedge",
    "var/log/calico/cni",
    "var/log/nginx",
    "var/spool",
];

/// Directories of `/` that a host makes for itself.
const OWN_TOP: &[&str] = &[
    "etc",
    "lost+found",
    "opt",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "var",
    ".machine",
];

/// Builds the root of `host` under `staging` and makes it this process's root.
pub(crate) fn enter(staging: &Path, plan: &Plan, host: &HostPlan) -> Result<()> {
    let root = staging.join("hosts").join(&host.name);
    fs::create_dir_all(&root)?;
    mount_bind(&root, &root).context("binding the new root")?;
    for dir in OWN_DIRS {
        fs::create_dir_all(root.join(dir))?;
    }
    for dir in ["tmp", "var/tmp"] {
        fs::create_dir_all(root.join(dir))?;
        fs::set_permissions(root.join(dir), fs::Permissions::from_mode(0o1777))?;
    }
    symlink("/run", root.join("var/run"))?;
    symlink("/run/lock", root.join("var/lock"))?;
    machine(&root)?;
    kernel_views(&root)?;
    programs(&root, plan)?;
    files(&root, plan, host)?;
    for dir in &host.shared {
        let shared = staging.join("shared").join(dir.replace('/', "_"));
        let own = root.join(dir.trim_start_matches('/'));
        fs::create_dir_all(&shared)?;
        fs::create_dir_all(&own)?;
        mount_bind(&shared, &own).with_context(|| format!("sharing {dir}"))?;
    }
    std::env::set_current_dir(&root)?;
    rustix::process::pivot_root(".", ".").context("pivot_root")?;
    unmount(".", UnmountFlags::DETACH).context("leaving the old root")?;
    std::env::set_current_dir("/")?;
    Ok(())
}

/// Binds in what the machine has.
fn machine(root: &Path) -> Result<()> {
    for entry in fs::read_dir("/")? {
        let entry = entry?;
        let (name, target) = (entry.file_name(), root.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, &target)?;
        } else if kind.is_dir() && !OWN_TOP.iter().any(|own| name == OsStr::new(own)) {
            fs::create_dir(&target)?;
            // A directory that this user may not even look into stays empty.
            if let Err(error) = mount_bind_recursive(entry.path(), &target)
                && name == OsStr::new("usr")
            {
                return Err(error).context("binding /usr");
            }
        }
    }
    for top in ["etc", "var", "opt"] {
        let machine = root.join(".machine").join(top);
        fs::create_dir_all(&machine)?;
        mount_bind_recursive(Path::new("/").join(top), &machine)
            .with_context(|| format!("binding /{top}"))?;
        link_the_rest(&machine, &Path::new("/.machine").join(top), &root.join(top))?;
    }
    link_the_rest(
        &root.join(".machine/var/lib"),
        Path::new("/.machine/var/lib"),
        &root.join("var/lib"),
    )?;
    for top in ["usr", "run", "proc"] {
        symlink(Path::new("/").join(top), root.join(".machine").join(top))?;
    }
    Ok(())
}

/// Links every entry of `from` that `own` does not have.
fn link_the_rest(from: &Path, seen_as: &Path, own: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        if !own.join(&name).exists() && fs::symlink_metadata(own.join(&name)).is_err() {
            symlink(seen_as.join(&name), own.join(&name))?;
        }
    }
    Ok(())
}

/// /proc of this host's processes, /sys of its network namespace.
fn kernel_views(root: &Path) -> Result<()> {
    let (proc, sys) = (root.join("proc"), root.join("sys"));
    fs::create_dir_all(&proc)?;
    fs::create_dir_all(&sys)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", &proc, "proc", flags, None)
        .context("mounting /proc, which a container often refuses")?;
    if mount("sysfs", &sys, "sysfs", flags, None).is_err() {
        // A container that covers parts of /sys: the machine's view serves all but /sys/class/net.
        mount_bind_recursive("/sys", &sys).context("binding /sys")?;
    }
    // `ip netns exec` takes /sys away and mounts a new one, which the kernel allows in a user namespace only while another
    // view of it is in sight.
    let second = root.join(".machine/sys");
    fs::create_dir(&second)?;
    mount_bind_recursive(&sys, &second).context("binding a second view of /sys")?;
    Ok(())
}

/// Our binary under its names.
fn programs(root: &Path, plan: &Plan) -> Result<()> {
    let binary = root.join("opt/selvedge/bin/selvedge");
    fs::write(&binary, "")?;
    mount_bind(&plan.binary, &binary)
        .with_context(|| format!("binding {}", plan.binary.display()))?;
    symlink("selvedge", root.join("opt/selvedge/bin/calicoctl"))?;
    for plugin in ["calico", "calico-ipam"] {
        symlink(
            "/opt/selvedge/bin/selvedge",
            root.join("opt/cni/bin").join(plugin),
        )?;
    }
    Ok(())
}

/// /etc's own files, the how-to's YAML and the scenario's files.
fn files(root: &Path, plan: &Plan, host: &HostPlan) -> Result<()> {
    let servers: String = host
        .nameservers
        .iter()
        .map(|server| format!("nameserver {server}\n"))
        .collect();
    let own = [
        ("/etc/hostname", format!("{}\n", host.name)),
        ("/etc/hosts", plan.hosts_file()),
        ("/etc/resolv.conf", servers),
        ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n".to_owned()),
    ];
    for (path, text) in own {
        put(root, path, &text)?;
    }
    for (name, text) in scenario::EXAMPLES {
        put(root, &format!("/root/howto/{name}"), text)?;
    }
    for (path, text) in &host.files {
        put(root, path, text)?;
    }
    Ok(())
}

/// Writes a file under `root`, replacing a link into the machine's own.
fn put(root: &Path, path: &str, text: &str) -> Result<()> {
    let target = root.join(path.trim_start_matches('/'));
    let parent = Path::new(path).parent().unwrap_or(Path::new("/"));
    own_directory(root, parent).with_context(|| format!("making a place for {path}"))?;
    let _ = fs::remove_file(&target);
    let script = text.starts_with("#!");
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(if script { 0o755 } else { 0o644 })
        .open(&target)
        .with_context(|| format!("cannot write {path}"))?;
    file.write_all(text.as_bytes())?;
    Ok(())
}

/// Makes a directory under `root`; where there is a link into the machine's own, a directory of links takes its place.
fn own_directory(root: &Path, directory: &Path) -> Result<()> {
    let mut seen_as = PathBuf::from("/");
    for part in directory.components().skip(1) {
        seen_as.push(part);
        let own = root.join(seen_as.strip_prefix("/")?);
        match fs::read_link(&own) {
            Ok(link) if link.starts_with("/.machine") => {
                fs::remove_file(&own)?;
                fs::create_dir(&own)?;
                link_the_rest(&root.join(link.strip_prefix("/")?), &link, &own)?;
            }
            _ => fs::create_dir_all(&own)?,
        }
    }
    Ok(())
}
