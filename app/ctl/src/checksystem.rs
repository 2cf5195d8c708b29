//! `node checksystem`: whether the kernel is what Calico asks for.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::args::Args;
use crate::programs;
use crate::world::{Failure, World};

/// The oldest kernel that Calico 3.32 supports, by its documentation.
const MINIMUM: (u32, u32) = (5, 10);

/// A module that Calico's dataplane uses, and the option that builds it. Two have become part of `ip_tables`: a kernel that has them
/// lists their match in `/proc/net/ip_tables_matches` or its IPv6 sister.
const MODULES: &[(&str, &str)] = &[
    ("ip_set", "CONFIG_IP_SET"),
    ("ip_tables", "CONFIG_IP_NF_IPTABLES"),
    ("ip6_tables", "CONFIG_IP6_NF_IPTABLES"),
    ("ipt_REJECT", "CONFIG_IP_NF_TARGET_REJECT"),
    ("ipt_ipvs", "CONFIG_NETFILTER_XT_MATCH_IPVS"),
    ("ipt_rpfilter", "CONFIG_IP_NF_MATCH_RPFILTER"),
    ("ipt_set", "CONFIG_IP_SET"),
    ("nf_conntrack_netlink", "CONFIG_NF_CT_NETLINK"),
    ("vfio-pci", "CONFIG_VFIO_PCI"),
    ("xt_addrtype", "CONFIG_NETFILTER_XT_MATCH_ADDRTYPE"),
    ("xt_bpf", "CONFIG_NETFILTER_XT_MATCH_BPF"),
    ("xt_conntrack", "CONFIG_NETFILTER_XT_MATCH_CONNTRACK"),
    ("xt_icmp", ""),
    ("xt_icmp6", ""),
    ("xt_mark", "CONFIG_NETFILTER_XT_MARK"),
    ("xt_multiport", "CONFIG_NETFILTER_XT_MATCH_MULTIPORT"),
    ("xt_rpfilter", "CONFIG_IP_NF_MATCH_RPFILTER"),
    ("xt_set", "CONFIG_NETFILTER_XT_SET"),
    ("xt_u32", "CONFIG_NETFILTER_XT_MATCH_U32"),
];

/// Prints what is there and what is missing. Calico's order of the modules is random; this one is fixed.
///
/// # Errors
/// Something is missing, or it cannot be found out.
pub fn run(args: &Args, world: &mut World<'_>) -> Result<(), Failure> {
    let release = read(&world.path("/proc/sys/kernel/osrelease"));
    let release = release.trim();
    let mut complete = new_enough(release);
    world.print("Checking kernel version...\n")?;
    line(world, release, complete)?;
    world.print("Checking kernel modules...\n")?;
    if !programs::found(world, "lsmod") {
        world.print(
            "Error executing command: exec: \"lsmod\": executable file not found in $PATH\n",
        )?;
        return Err(refused());
    }
    let kernel = Kernel::read(world, release, args.get("kernel-config"));
    for (module, option) in MODULES {
        let there = kernel.has(module, option);
        if !there {
            world.print(format_args!(
                "WARNING: Unable to detect the {module} module as Loaded/Builtin module or lsmod\n"
            ))?;
        }
        line(world, module, there)?;
        complete &= there;
    }
    if !complete {
        return Err(refused());
    }
    world.print("System meets minimum system requirements to run Calico!\n")
}

fn refused() -> Failure {
    Failure::message("system doesn't meet one or more minimum systems requirements to run Calico")
}

fn line(world: &mut World<'_>, what: &str, there: bool) -> Result<(), Failure> {
    let verdict = if there { "OK" } else { "FAIL" };
    world.print(format_args!("\t\t{what:<20}\t\t\t\t\t{verdict}\n"))
}

fn new_enough(release: &str) -> bool {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    (major, minor) >= MINIMUM
}

/// What the kernel has, from every place that tells.
struct Kernel {
    /// Loaded, to be loaded, or built in; with `_` for `-`.
    modules: BTreeSet<String>,
    /// Options that are `y` or `m`.
    options: BTreeSet<String>,
    /// Matches of iptables.
    matches: BTreeSet<String>,
}

impl Kernel {
    fn read(world: &World<'_>, release: &str, config: Option<&str>) -> Kernel {
        let file = |path: &str| read(&world.path(path));
        let loaded = file("/proc/modules");
        let loaded = loaded.lines().filter_map(|line| line.split(' ').next());
        let mut modules: BTreeSet<String> = loaded.map(normal).collect();
        for list in ["modules.dep", "modules.builtin"] {
            let text = file(&format!("/lib/modules/{release}/{list}"));
            modules.extend(text.lines().filter_map(module_of_path).map(normal));
        }
        let config = match config {
            Some(path) => read(Path::new(path)),
            None => CONFIGS
                .iter()
                .map(|place| file(&place.replace("{}", release)))
                .find(|text| !text.is_empty())
                .unwrap_or_default(),
        };
        let options = config.lines().filter_map(|line| {
            let (option, value) = line.split_once('=')?;
            matches!(value, "y" | "m").then(|| option.to_string())
        });
        let matches = [
            "/proc/net/ip_tables_matches",
            "/proc/net/ip6_tables_matches",
        ];
        let matches = matches.map(file).concat();
        Kernel {
            modules,
            options: options.collect(),
            matches: matches.lines().map(str::to_string).collect(),
        }
    }

    fn has(&self, module: &str, option: &str) -> bool {
        let matched = module.strip_prefix("xt_").unwrap_or(module);
        self.modules.contains(&normal(module))
            || self.options.contains(option)
            || self.matches.contains(matched)
    }
}

/// Where distributions keep the configuration of the kernel that runs.
const CONFIGS: &[&str] = &[
    "/usr/src/linux/.config",
    "/boot/config-{}",
    "/usr/src/linux-{}/.config",
    "/usr/src/linux-headers-{}/.config",
    "/lib/modules/{}/build/.config",
];

/// What is not there says nothing.
fn read(path: &Path) -> String {
    fs::read(path).map_or_else(
        |_| String::new(),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}

fn normal(module: &str) -> String {
    module.replace('-', "_")
}

/// `kernel/net/netfilter/xt_set.ko.xz: kernel/...` is xt_set.
fn module_of_path(line: &str) -> Option<&str> {
    let path = line.split(':').next()?;
    path.rsplit('/').next()?.split(".ko").next()
}
