//! What the runtime asks: the environment and standard input (CNI specification, "Protocol parameters").

use std::collections::BTreeMap;
use std::io::Read;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::Persona;
use crate::conf::{NetConf, SUPPORTED, at_least};
use crate::failure::{self, Failure};

/// A command that is done here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Add,
    Del,
    Check,
    Version,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    pub command: Command,
    pub container_id: String,
    /// Empty where the runtime knows none any more (DEL).
    pub netns: PathBuf,
    pub interface: String,
    /// Where plugins are.
    pub path: String,
    /// `CNI_ARGS`, as it came.
    pub args_text: String,
    pub args: BTreeMap<String, String>,
    pub stdin: String,
}

/// What Calico reads of `CNI_ARGS`.
const POD_NAME: &str = "K8S_POD_NAME";
const POD_NAMESPACE: &str = "K8S_POD_NAMESPACE";
const ADDRESS: &str = "IP";

impl Call {
    /// The call; `None` when the program was started by hand, without `CNI_COMMAND`: then it has said what it is.
    pub fn from_environment(persona: Persona) -> Result<Option<Call>, Failure> {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        let command_text = variable("CNI_COMMAND");
        if command_text.is_empty() {
            eprintln!(
                "CNI plugin {} v{}",
                persona.name(),
                env!("CARGO_PKG_VERSION")
            );
            eprintln!("CNI protocol versions supported: {}", SUPPORTED.join(", "));
            return Ok(None);
        }
        let command = match command_text.as_str() {
            "ADD" => Some(Command::Add),
            "DEL" => Some(Command::Del),
            "CHECK" => Some(Command::Check),
            "VERSION" => Some(Command::Version),
            _ => None,
        };
        let needed: &[&str] = match command {
            Some(Command::Add | Command::Check) => {
                &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]
            }
            Some(Command::Del) => &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
            Some(Command::Version) | None => &[],
        };
        let missing: Vec<&str> = needed
            .iter()
            .copied()
            .filter(|name| variable(name).is_empty())
            .collect();
        if !missing.is_empty() {
            let text = format!("required env variables [{}] missing", missing.join(","));
            return Err(Failure::new(failure::INVALID_ENVIRONMENT, text));
        }
        let mut stdin = String::new();
        std::io::stdin()
            .read_to_string(&mut stdin)
            .map_err(|e| Failure::new(failure::IO, format!("error reading from stdin: {e}")))?;
        let Some(command) = command else {
            return Err(unknown_command(&command_text, &stdin));
        };
        let args_text = variable("CNI_ARGS");
        Ok(Some(Call {
            command,
            container_id: variable("CNI_CONTAINERID"),
            netns: PathBuf::from(variable("CNI_NETNS")),
            interface: variable("CNI_IFNAME"),
            path: variable("CNI_PATH"),
            args: parse_args(&args_text)?,
            args_text,
            stdin,
        }))
    }

    /// Whether the configuration, the container's name and the interface's name are what the specification asks for.
    pub fn check(&self, conf: &NetConf) -> Result<(), Failure> {
        conf.check_name()?;
        check_container_id(&self.container_id)?;
        check_interface(&self.interface)?;
        if self.command == Command::Check && !at_least(&conf.version, "0.4.0") {
            let text = "config version does not allow CHECK";
            return Err(Failure::new(failure::INCOMPATIBLE_VERSION, text));
        }
        conf.check_version()?;
        let own = std::fs::metadata("/proc/self/ns/net");
        let given = std::fs::metadata(&self.netns);
        if let (Command::Add, Ok(own), Ok(given)) = (self.command, own, given) {
            use std::os::unix::fs::MetadataExt;
            if (own.dev(), own.ino()) == (given.dev(), given.ino()) {
                let text = "plugin's netns and netns from CNI_NETNS should not be the same";
                return Err(Failure::new(failure::INVALID_NETNS, text));
            }
        }
        Ok(())
    }

    /// Namespace and name of the pod, when Kubernetes (or who does as it does) is calling.
    pub fn pod(&self) -> Option<(&str, &str)> {
        let value = |name: &str| self.args.get(name).filter(|v| !v.is_empty());
        Some((value(POD_NAMESPACE)?, value(POD_NAME)?))
    }

    /// The same call, for a certain address.
    pub fn wanting(&self, address: IpAddr) -> Call {
        let mut call = self.clone();
        let text = address.to_string();
        call.args_text = [&call.args_text, ";", ADDRESS, "=", &text]
            .concat()
            .trim_start_matches(';')
            .to_string();
        call.args.insert(ADDRESS.to_string(), text);
        call
    }

    /// The address that the runtime wants, if it wants a certain one.
    pub fn wanted_address(&self) -> Option<&str> {
        self.args
            .get(ADDRESS)
            .map(String::as_str)
            .filter(|v| !v.is_empty())
    }
}

/// STATUS and GC came with 1.1.0, which is refused; anything else nobody knows.
fn unknown_command(command: &str, stdin: &str) -> Failure {
    match command {
        "STATUS" | "GC" => {
            let conf = match NetConf::parse(stdin) {
                Ok(conf) => conf,
                Err(failure) => return failure,
            };
            let who = if at_least(&conf.version, "1.1.0") {
                "plugin"
            } else {
                "config"
            };
            let text = format!("{who} version does not allow {command}");
            Failure::new(failure::INCOMPATIBLE_VERSION, text)
        }
        _ => Failure::new(
            failure::INVALID_ENVIRONMENT,
            format!("unknown CNI_COMMAND: {command}"),
        ),
    }
}

/// `KEY=VALUE;KEY=VALUE`. Unknown keys are passed over (Calico adds `IgnoreUnknown=1`).
fn parse_args(text: &str) -> Result<BTreeMap<String, String>, Failure> {
    let mut args = BTreeMap::new();
    for pair in text.split(';').filter(|p| !p.is_empty()) {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| Failure::internal(format!("ARGS: invalid pair {pair:?}")))?;
        args.insert(key.to_string(), value.to_string());
    }
    Ok(args)
}

fn check_container_id(id: &str) -> Result<(), Failure> {
    if id.is_empty() {
        return Err(Failure::new(
            failure::UNKNOWN_CONTAINER,
            "missing containerID",
        ));
    }
    if !name_is_plain(id) {
        return Err(Failure::new(
            failure::INVALID_ENVIRONMENT,
            "invalid characters in containerID",
        )
        .with_details(id));
    }
    Ok(())
}

/// `^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`, for containers and networks.
pub fn name_is_plain(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    name.bytes().all(plain)
        && name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
}

fn check_interface(name: &str) -> Result<(), Failure> {
    let bad = |text: &str| Err(Failure::new(failure::INVALID_ENVIRONMENT, text));
    if name.is_empty() {
        return bad("interface name is empty");
    }
    if name.len() > 15 {
        return Err(
            Failure::new(failure::INVALID_ENVIRONMENT, "interface name is too long")
                .with_details("interface name should be less than 16 characters"),
        );
    }
    if name == "." || name == ".." {
        return bad("interface name is . or ..");
    }
    if name
        .chars()
        .any(|c| c == '/' || c == ':' || c.is_whitespace())
    {
        return bad("interface name contains / or : or whitespace characters");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let args = parse_args("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=nginx;X=a=b")
            .unwrap();
        assert_eq!(args["K8S_POD_NAME"], "nginx");
        assert_eq!(args["X"], "a=b");
        assert!(parse_args("").unwrap().is_empty());
        assert_eq!(
            parse_args("bad").unwrap_err().message,
            "ARGS: invalid pair \"bad\""
        );
    }

    #[test]
    fn names() {
        assert!(check_interface("eth0").is_ok() && check_container_id("c0123_a.b-c").is_ok());
        for bad in ["", ".", "..", "a/b", "a:b", "a b", "sixteencharacter"] {
            assert_eq!(
                check_interface(bad).unwrap_err().code,
                failure::INVALID_ENVIRONMENT,
                "{bad:?}"
            );
        }
        assert_eq!(
            check_container_id("").unwrap_err().code,
            failure::UNKNOWN_CONTAINER
        );
        assert_eq!(check_container_id("../x").unwrap_err().details, "../x");
    }
}
