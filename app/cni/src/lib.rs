//! The CNI plugin: `calico` (interfaces and endpoints) and `calico-ipam` (addresses), as one function with two personas.
//!
//! [`run`] does what a CNI runtime asks through the environment and standard input: ADD, DEL, CHECK and VERSION of the CNI
//! specification 1.0.0, with the older result forms. It opens the store itself, allocates through `ipam`, makes the veth
//! pair through `linux`, and writes the WorkloadEndpoint; there is no daemon behind it, no runtime, and one thread. It may
//! be killed at any moment: a DEL afterwards leaves nothing. It knows nothing of routes to other nodes (`agent`).
//!
//! ```no_run
//! std::process::exit(cni::run(cni::Persona::from_program_name("calico").expect("a persona")));
//! ```

mod address;
mod call;
mod conf;
mod delegate;
mod endpoint;
mod failure;
mod plugin;
mod reply;
mod request;
mod world;

use std::io::Write;
use std::panic::catch_unwind;
use std::path::Path;

use call::{Call, Command};
use conf::NetConf;
use failure::Failure;

/// Which plugin the program is called as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persona {
    /// The main plugin, `calico`.
    Calico,
    /// The address plugin, `calico-ipam`.
    CalicoIpam,
}

impl Persona {
    /// The persona of a program's name (the last part of argv\[0\]); `None` for any other program.
    pub fn from_program_name(argv0: &str) -> Option<Persona> {
        match Path::new(argv0).file_name()?.to_str()? {
            "calico" => Some(Persona::Calico),
            "calico-ipam" => Some(Persona::CalicoIpam),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Persona::Calico => "calico",
            Persona::CalicoIpam => "calico-ipam",
        }
    }
}

/// Does what the environment and standard input ask; the exit status is 0, or 1 after an error on standard output.
pub fn run(persona: Persona) -> i32 {
    if std::env::args().nth(1).as_deref() == Some("-v") {
        println!("v{}", env!("CARGO_PKG_VERSION"));
        return 0;
    }
    let result = catch_unwind(|| answer(persona)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        Err(Failure::new(
            failure::PANIC,
            format!("{} panicked: {text}", persona.name()),
        ))
    });
    let (text, status) = match result {
        Ok(text) => (text, 0),
        Err(failure) => {
            failure.explain();
            (failure.to_json(), 1)
        }
    };
    // A runtime that has gone cannot be told so.
    let _ = std::io::stdout().write_all(text.as_bytes());
    status
}

fn answer(persona: Persona) -> Result<String, Failure> {
    let Some(call) = Call::from_environment(persona)? else {
        return Ok(String::new());
    };
    if call.command == Command::Version {
        return Ok(conf::version_reply());
    }
    let conf = NetConf::parse(&call.stdin)?;
    call.check(&conf)?;
    match (persona, call.command) {
        (Persona::Calico, Command::Add) => plugin::add(&call, &conf),
        (Persona::Calico, Command::Del) => plugin::del(&call, &conf).map(|()| String::new()),
        (Persona::Calico, Command::Check) => {
            plugin::check(&call, &conf).map(|()| "OK\n".to_string())
        }
        (Persona::CalicoIpam, Command::Add) => address::add(&call, &conf),
        (Persona::CalicoIpam, Command::Del) => address::del(&call, &conf).map(|()| String::new()),
        (Persona::CalicoIpam, Command::Check) => Ok(String::new()),
        (_, Command::Version) => Ok(conf::version_reply()),
    }
}
