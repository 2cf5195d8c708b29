//! `selvedge node run`: this machine as a node.

use std::collections::BTreeMap;
use std::path::PathBuf;

use agent::{AgentConfig, Flags, LogSeverity};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::log;

/// This machine as a node of the cluster.
#[derive(Debug, Args)]
pub struct NodeArgs {
    #[command(subcommand)]
    command: NodeCommand,
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    /// Run the node in the foreground. SIGTERM ends it; routes and rules stay, and BGP peers with graceful restart keep
    /// theirs.
    Run(RunArgs),
}

/// The flags of `calicoctl node run`; the environment is calico/node's (IP, IP6, AS, NODENAME, IP_AUTODETECTION_METHOD,
/// CALICO_ROUTER_ID, CALICO_IPV4POOL_CIDR, NO_DEFAULT_POOLS and so on). A flag wins.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The node's IPv4 address, `autodetect` or `none`; without a length it gets its interface's.
    #[arg(long)]
    ip: Option<String>,
    /// The node's IPv6 address, `autodetect` or `none`.
    #[arg(long)]
    ip6: Option<String>,
    /// The node's AS number; without it the cluster's.
    #[arg(long = "as")]
    asn: Option<String>,
    /// The node's name; without it the host's.
    #[arg(long)]
    name: Option<String>,
    /// first-found, can-reach=ADDRESS, interface=NAME, skip-interface=NAME or cidr=CIDR.
    #[arg(long)]
    ip_autodetection_method: Option<String>,
    /// The same for IPv6.
    #[arg(long)]
    ip6_autodetection_method: Option<String>,
    /// bird (BGP) or none.
    #[arg(long)]
    backend: Option<String>,
    /// BFD with the other nodes, as INTERVALxMULTIPLIER in milliseconds such as 50x3 (SELVEDGE_BFD).
    #[arg(long)]
    bfd: Option<String>,
    /// Create no default IPPool.
    #[arg(long)]
    no_default_ippools: bool,
    /// The datastore's configuration.
    #[arg(short, long, default_value = store::DEFAULT_CONFIG_FILE)]
    config: PathBuf,
}

/// Does what a node command says.
///
/// # Errors
/// What hindered the start.
pub fn run(args: NodeArgs) -> Result<()> {
    match args.command {
        NodeCommand::Run(args) => run_node(args),
    }
}

/// What the agent says where `logSeverityScreen` is Info, or nobody said anything.
const USUAL: &str = "info,speaker=warn";

fn run_node(args: RunArgs) -> Result<()> {
    let adjust = log::adjustable_to_stderr(USUAL);
    let env: BTreeMap<String, String> = std::env::vars().collect();
    let hostname =
        std::fs::read_to_string("/proc/sys/kernel/hostname").context("reading the host's name")?;
    let explicit = args.config.to_str() != Some(store::DEFAULT_CONFIG_FILE);
    let datastore = store::Config::load(explicit.then_some(args.config.as_path()))?;
    let flags = Flags {
        name: args.name,
        ip: args.ip,
        ip6: args.ip6,
        asn: args.asn,
        ip_autodetection_method: args.ip_autodetection_method,
        ip6_autodetection_method: args.ip6_autodetection_method,
        backend: args.backend,
        bfd: args.bfd,
        no_default_ippools: args.no_default_ippools,
    };
    let config = AgentConfig::read(flags, &env, &hostname)?;
    agent::run_with(&config, &datastore, &|severity| {
        adjust(match severity {
            LogSeverity::Debug => "debug",
            LogSeverity::Info => USUAL,
            LogSeverity::Warning => "warn",
            LogSeverity::Error => "error",
        });
    })
}
