//! `node run --dryrun`: the command that calico/node's container would be started with. Only the first form was seen of calicoctl; its
//! variables come there in an order that changes from run to run, here in the order of that one time.

use std::fs;

use store::{Datastore, EtcdOptions, Pem};

use crate::args::Args;
use crate::world::{Failure, World};

/// The image, where none is named.
const IMAGE: &str = "quay.io/calico/node:latest";
/// Where the container has what it is given files of.
const CA: &str = "/etc/calico/certs/ca_cert.crt";
const CERTIFICATE: &str = "/etc/calico/certs/cert.crt";
const KEY: &str = "/etc/calico/certs/key.pem";

/// Prints the command.
///
/// # Errors
/// It is to be run and not printed; an address or a backend that is none; another datastore than etcd, which is the only one that a
/// container of this command reaches.
pub fn run(args: &Args, config: &store::Config, world: &mut World<'_>) -> Result<(), Failure> {
    if !args.has("dryrun") {
        return Err(Failure::message(
            "`selvedge node run` runs the node; this part of the program only knows --dryrun",
        ));
    }
    for option in ["ip", "ip6"] {
        check_address(option, args, world)?;
    }
    let backend = args.get("backend").unwrap_or("bird");
    if !["bird", "none"].contains(&backend) {
        world.print(format_args!(
            "Error executing command: unknown backend '{backend}'\n"
        ))?;
        return Err(Failure::Told);
    }
    let Datastore::EtcdV3(etcd) = &config.datastore else {
        return Err(Failure::Message {
            text: format!(
                "calico/node's container is started this way only with etcd, and the datastore is {} ({})",
                config.datastore.name(),
                config.origin
            ),
            hint: Some("`selvedge node run` runs a node here without a container, on each of the datastores".to_string()),
        });
    };
    let name = match args.get("name") {
        Some(name) => name.to_string(),
        None => fs::read_to_string(world.path("/proc/sys/kernel/hostname"))
            .map_err(|e| Failure::message(format!("the host's name cannot be read: {e}")))?
            .trim()
            .to_lowercase(),
    };
    let container = container(args, etcd, &name, backend);
    let image = args.get("node-image").unwrap_or(IMAGE);
    let command = |how: &str| {
        format!("docker run --net=host --privileged --name=calico-node {how} {container} {image}")
    };
    let first = "Use the following command to start the calico/node container:";
    if args.has("init-system") {
        return world.print(format_args!(
            "{first}\n\n{}\n\nUse the following command to stop the calico/node container:\n\ndocker stop calico-node\n\n",
            command("--rm")
        ));
    }
    world.print(format_args!(
        "{first}\n\n{}\n\nIf you are running calico/node in an init system, use the --init-system flag\nto display the appropriate start and stop commands.\n",
        command("-d --restart=always")
    ))
}

fn check_address(option: &str, args: &Args, world: &mut World<'_>) -> Result<(), Failure> {
    let Some(text) = args
        .get(option)
        .filter(|t| !["autodetect", "none"].contains(t))
    else {
        return Ok(());
    };
    let address = text.split('/').next().unwrap_or(text);
    let fits = match option {
        "ip" => address.parse::<std::net::Ipv4Addr>().is_ok(),
        _ => address.parse::<std::net::Ipv6Addr>().is_ok(),
    };
    if fits {
        return Ok(());
    }
    world.print(format_args!(
        "Error executing command: invalid IP address specified: {text}\n"
    ))?;
    Err(Failure::Told)
}

/// Variables and folders.
fn container(args: &Args, etcd: &EtcdOptions, name: &str, backend: &str) -> String {
    let endpoints: Vec<String> = etcd.endpoints.iter().map(ToString::to_string).collect();
    let mut variables = vec![
        ("ETCD_DISCOVERY_SRV", etcd.discovery_srv.clone()),
        ("CALICO_MANAGE_CNI", "false".to_string()),
        ("NODENAME", name.to_string()),
        ("CALICO_NETWORKING_BACKEND", backend.to_string()),
    ];
    for (option, variable) in [
        ("ip", "IP"),
        ("ip6", "IP6"),
        ("as", "AS"),
        ("ip-autodetection-method", "IP_AUTODETECTION_METHOD"),
        ("ip6-autodetection-method", "IP6_AUTODETECTION_METHOD"),
    ] {
        variables.extend(args.get(option).map(|text| (variable, text.to_string())));
    }
    if args.has("no-default-ippools") {
        variables.push(("NO_DEFAULT_POOLS", "true".to_string()));
    }
    variables.push(("ETCD_ENDPOINTS", endpoints.join(",")));
    let mut files = Vec::new();
    for (pem, variable, inside) in [
        (&etcd.ca, "ETCD_CA_CERT_FILE", CA),
        (&etcd.certificate, "ETCD_CERT_FILE", CERTIFICATE),
        (&etcd.key, "ETCD_KEY_FILE", KEY),
    ] {
        if let Some(Pem::File(file)) = pem {
            variables.push((variable, inside.to_string()));
            files.push((file.display().to_string(), inside));
        }
    }
    let logs = args.get("log-dir").unwrap_or("/var/log/calico");
    files.push((logs.to_string(), "/var/log/calico"));
    for folder in ["/var/run/calico", "/var/lib/calico", "/lib/modules", "/run"] {
        files.push((folder.to_string(), folder));
    }
    if let Some(file) = args.get("felix-config") {
        files.push((file.to_string(), "/etc/calico/felix.cfg"));
    }
    let variables = variables
        .iter()
        .map(|(name, value)| format!("-e {name}={value}"));
    let files = files
        .iter()
        .map(|(there, inside)| format!("-v {there}:{inside}"));
    variables.chain(files).collect::<Vec<_>>().join(" ")
}
