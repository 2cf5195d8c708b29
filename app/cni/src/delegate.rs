//! Where addresses come from: our own `calico-ipam` in this process, or another plugin that is run.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use ipnet::IpNet;
use serde_json::Value;
use store::AnyStore;

use crate::address;
use crate::call::Call;
use crate::conf::NetConf;
use crate::endpoint::Identity;
use crate::failure::{self, Failure};
use crate::reply;

/// Who gives addresses for this configuration.
pub enum AddressPlugin {
    /// The `calico-ipam` that this very program is, too.
    Own,
    /// A program.
    Program(PathBuf),
}

impl AddressPlugin {
    /// The plugin that the configuration names, as `CNI_PATH` has it.
    pub fn find(call: &Call, conf: &NetConf) -> Result<AddressPlugin, Failure> {
        let kind = conf.ipam.kind.as_str();
        if kind.is_empty() || kind.contains('/') {
            let text = format!(
                "ipam.type {kind:?} in the CNI configuration names no plugin: expected calico-ipam"
            );
            return Err(Failure::new(failure::INVALID_CONFIG, text));
        }
        let directories: Vec<&str> = call.path.split(':').filter(|d| !d.is_empty()).collect();
        let found = directories
            .iter()
            .map(|d| PathBuf::from(d).join(kind))
            .find(|p| p.is_file());
        let Some(program) = found else {
            let text = format!(
                "failed to find plugin {kind:?} in path [{}]",
                directories.join(" ")
            );
            return Err(Failure::internal(text));
        };
        let identity = |path: &str| std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
        let same = identity("/proc/self/exe")
            .is_some_and(|own| Some(own) == program.to_str().and_then(identity));
        if same && kind == "calico-ipam" {
            return Ok(AddressPlugin::Own);
        }
        Ok(AddressPlugin::Program(program))
    }

    /// Addresses, each with its block's or subnet's length.
    pub fn assign(
        &self,
        call: &Call,
        conf: &NetConf,
        store: &AnyStore,
        identity: &Identity,
    ) -> Result<Vec<IpNet>, Failure> {
        let given = match self {
            AddressPlugin::Own => address::assign(call, conf, store, identity)?,
            AddressPlugin::Program(program) => {
                let text = run(program, "ADD", call)?;
                let parsed: Option<Value> = serde_json::from_str(&text).ok();
                parsed
                    .as_ref()
                    .and_then(reply::addresses_of)
                    .ok_or_else(|| {
                        Failure::new(
                            failure::DECODING,
                            format!("{} answered {text:?}", program.display()),
                        )
                    })?
            }
        };
        if given.is_empty() {
            return Err(Failure::internal("IPAM plugin returned missing IP config"));
        }
        Ok(given)
    }

    /// Gives back what was just given, when the rest of an ADD has failed. A program can only be told to give back all.
    pub fn give_back(
        &self,
        call: &Call,
        conf: &NetConf,
        store: &AnyStore,
        identity: &Identity,
        given: &[IpNet],
    ) -> Result<(), Failure> {
        match self {
            AddressPlugin::Own => address::release_only(conf, store, identity, given),
            AddressPlugin::Program(program) => run(program, "DEL", call).map(drop),
        }
    }

    /// Gives back all that the container has; content when it has nothing.
    pub fn release(
        &self,
        call: &Call,
        conf: &NetConf,
        store: &AnyStore,
        identity: &Identity,
    ) -> Result<(), Failure> {
        match self {
            AddressPlugin::Own => address::release(conf, store, identity),
            AddressPlugin::Program(program) => run(program, "DEL", call).map(drop),
        }
    }
}

/// Runs a plugin on our own input; its failure is ours (CNI specification, "Plugin delegation").
fn run(program: &PathBuf, command: &str, call: &Call) -> Result<String, Failure> {
    let failed = |e: std::io::Error| Failure::internal(format!("{}: {e}", program.display()));
    let mut child = Command::new(program)
        .env("CNI_COMMAND", command)
        .env("CNI_ARGS", &call.args_text)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        // One that does not read says so in its answer.
        let _ = input.write_all(call.stdin.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let said: Value = serde_json::from_str(&text).unwrap_or_default();
    let number = said
        .get("code")
        .and_then(Value::as_u64)
        .and_then(|n| u32::try_from(n).ok());
    let word = |key: &str| {
        said.get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_string()
    };
    match number {
        Some(code) => Err(Failure::new(code, word("msg")).with_details(word("details"))),
        None => {
            let text = format!(
                "{} failed with {} and said {text:?}",
                program.display(),
                output.status
            );
            Err(Failure::internal(text))
        }
    }
}
