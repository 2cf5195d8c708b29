//! From a command line to an exit code.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::panic;
use std::path::{Path, PathBuf};

use resource::Store;

use crate::args::{Args, Misuse};
use crate::change::{self, Verb};
use crate::client::Client;
use crate::usage::{self, COMMANDS, Usage};
use crate::world::{Failure, World};
use crate::{
    checksystem, cluster, crds, diags, edit, get, hint, ipam, migrate, migrate_kubernetes, node,
    node_run, sessions, version,
};

/// As whom the program speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persona {
    /// As calicoctl, byte for byte.
    Calicoctl,
    /// The same, and `hint:` lines on stderr after an error.
    Selvedge,
}

/// Why there is no store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The configuration file that was named is not there; calicoctl says so on stdout.
    NoConfig(String),
    /// Anything else.
    Other(String),
}

/// Whether a word is a command that [`run`] knows, for a program that has others too.
pub fn is_command(word: &str) -> bool {
    COMMANDS.contains(&word)
}

/// Runs one command on the configured store, with the process's own streams. `argv[0]` is the program's name.
///
/// Returns the exit code: 0, or 1 for any error.
pub fn run(argv: Vec<OsString>, persona: Persona) -> i32 {
    let argv: Vec<String> = argv
        .into_iter()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    // A panic of the YAML scanner is caught and said in words; anybody else's is a fault of ours and is shown.
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let within = info.location().map_or("", |place| place.file());
        if !within.contains("libyaml-safer") {
            usual(info);
        }
    }));
    let random = |buffer: &mut [u8]| File::open("/dev/urandom")?.read_exact(buffer);
    let etcd = Cell::new(false);
    let mut world = World {
        persona,
        stdin: &mut io::stdin(),
        stdout: &mut io::stdout(),
        stderr: &mut io::stderr(),
        now: jiff::Timestamp::now(),
        random: &random,
        pause: &std::thread::sleep,
        root: PathBuf::from("/"),
        environment: &|name| std::env::var(name).ok(),
        etcd: &etcd,
    };
    run_with(&argv, &mut world, |file, context| {
        open(file, context, &etcd)
    })
}

fn open(
    file: Option<&Path>,
    context: Option<&str>,
    etcd: &Cell<bool>,
) -> Result<store::AnyStore, OpenError> {
    let config = store::Config::load_in(file, context).map_err(|error| match error {
        store::ConfigError::Unreadable { reason: None, .. } => {
            OpenError::NoConfig(error.to_string())
        }
        other => OpenError::Other(other.to_string()),
    })?;
    etcd.set(matches!(config.datastore, store::Datastore::EtcdV3 { .. }));
    store::open(&config).map_err(|error| OpenError::Other(error.to_string()))
}

/// [`run`] with everything given: the words after the program's name, the surroundings, and how the store is opened (the
/// arguments are the file that `--config` names, and the kubeconfig's context that `--context` does).
pub fn run_with<S: Store + Sync>(
    argv: &[String],
    world: &mut World<'_>,
    open: impl FnOnce(Option<&Path>, Option<&str>) -> Result<S, OpenError>,
) -> i32 {
    let outcome = top(argv, world, open);
    // Nobody is left to be told where stdout is closed.
    let _ = world.stdout.flush();
    let Err(failure) = outcome else {
        return 0;
    };
    if let Failure::Message { text, hint } = failure {
        let text = massaged(&text);
        let _ = writeln!(world.stderr, "{text}");
        if world.persona == Persona::Selvedge
            && let Some(hint) = hint.or_else(|| hint::hint(&text))
        {
            let _ = writeln!(world.stderr, "hint: {hint}");
        }
    }
    1
}

/// calicoctl's last touch: the one thing that a reader needs of a long message about an unknown field.
fn massaged(text: &str) -> String {
    let unknown = text
        .split_once("unknown field \"")
        .and_then(|(_, rest)| rest.split_once('"'));
    if let Some((field, _)) = unknown {
        return format!("field in document is not recognized or is in the wrong location: {field}");
    }
    text.strip_prefix("error unmarshaling JSON: while decoding JSON: json: ")
        .unwrap_or(text)
        .to_string()
}

const LOG_LEVELS: &[&str] = &[
    "panic", "fatal", "error", "warn", "warning", "info", "debug", "trace",
];

fn top<S: Store + Sync>(
    argv: &[String],
    world: &mut World<'_>,
    open: impl FnOnce(Option<&Path>, Option<&str>) -> Result<S, OpenError>,
) -> Result<(), Failure> {
    let args = match usage::TOP.read(argv) {
        Ok(args) => args,
        Err(Misuse::Help) => return world.print(format_args!("{}\n", usage::TOP.help())),
        Err(Misuse::Usage) => {
            world.print(format_args!(
                "Invalid option: '{}'. Use flag '--help' to read about a specific subcommand.\n",
                argv.join(" ")
            ))?;
            return Err(Failure::Message {
                text: usage::TOP.pattern().to_string(),
                hint: Some("`selvedge get --help` says what a command takes".to_string()),
            });
        }
    };
    if args.has("version") {
        return world.print("Run 'calicoctl version' to see version information.\n");
    }
    if let Some(level) = args.get("log-level")
        && !LOG_LEVELS.contains(&level.to_lowercase().as_str())
    {
        world.print(format_args!(
            "Unknown log level: {level}, expected one of: \npanic, fatal, error, warn, info, debug.\n"
        ))?;
        return Err(Failure::Told);
    }
    let allow = args.has("allow-version-mismatch");
    let global = args.get("context");
    // The command's own wins.
    let open = |file: Option<&Path>, own: Option<&str>| open(file, own.or(global));
    let (word, rest) = args
        .positionals
        .split_first()
        .expect("the usage asks for a command");
    if word == "datastore" {
        return on_datastore(rest, allow, world, open);
    }
    command(word, rest, allow, world, open)
}

fn usage_of(word: &str) -> Result<&'static Usage, Failure> {
    Ok(match word {
        "get" => &usage::GET,
        "create" => &usage::CREATE,
        "apply" => &usage::APPLY,
        "replace" => &usage::REPLACE,
        "delete" => &usage::DELETE,
        "patch" => &usage::PATCH,
        "label" => &usage::LABEL,
        "validate" => &usage::VALIDATE,
        "version" => &usage::VERSION,
        "node" => &usage::NODE,
        "ipam" => &usage::IPAM,
        "cluster" => &usage::CLUSTER,
        _ => {
            return Err(Failure::message(format!(
                "unknown command: {word:?}\n{}\n",
                usage::TOP.help()
            )));
        }
    })
}

fn command<S: Store + Sync>(
    word: &str,
    rest: &[String],
    allow: bool,
    world: &mut World<'_>,
    open: impl FnOnce(Option<&Path>, Option<&str>) -> Result<S, OpenError>,
) -> Result<(), Failure> {
    let Some(args) = read(usage_of(word)?, rest, world)? else {
        return Ok(());
    };
    match word {
        "validate" => change::check(&args, world),
        "version" => {
            let every = version::interval(&args)?;
            version::client(world)?;
            if args.has("client") {
                return Ok(());
            }
            let store = opened(&args, world, open)?;
            version::cluster(&Client::new(&store), every, world)
        }
        "node" => on_node(&args.positionals, allow, world, open),
        "cluster" => on_cluster(&args.positionals, allow, world, open),
        "ipam" => on_ipam(&args.positionals, allow, world, open),
        _ => {
            if word == "get" {
                get::check_output(&args)?;
            }
            let store = opened(&args, world, open)?;
            let client = checked(&args, allow, &store)?;
            on_resources(word, &args, &client, world)
        }
    }
}

fn on_node<S: Store + Sync>(
    words: &[String],
    allow: bool,
    world: &mut World<'_>,
    open: impl FnOnce(Option<&Path>, Option<&str>) -> Result<S, OpenError>,
) -> Result<(), Failure> {
    let (below, rest) = words.split_first().expect("the usage asks for one");
    match below.as_str() {
        "status" if world.persona == Persona::Selvedge => {
            let Some(args) = read(&usage::NODE_STATUS_OURS, rest, world)? else {
                return Ok(());
            };
            if !args.has("all") {
                return node::status(world);
            }
            let form = sessions::Form::read(args.get("output"))?;
            let store = opened(&args, world, open)?;
            let client = checked(&args, allow, &store)?;
            sessions::show(form, &client, world)
        }
        "status" => match read(&usage::NODE_STATUS, rest, world)? {
            Some(_) => node::status(world),
            None => Ok(()),
        },
        "diags" => match read(&usage::NODE_DIAGS, rest, world)? {
            Some(args) => diags::run(&args, world),
            None => Ok(()),
        },
        "checksystem" => match read(&usage::NODE_CHECKSYSTEM, rest, world)? {
            Some(args) => checksystem::run(&args, world),
            None => Ok(()),
        },
        "run" => match read(&usage::NODE_RUN, rest, world)? {
            Some(args) => node_run::run(&args, &configuration(&args, world)?, world),
            None => Ok(()),
        },
        _ => world.print(format_args!("{}\n\n", usage::NODE.help())),
    }
}

fn on_cluster<S: Store + Sync>(
    words: &[String],
    allow: bool,
    world: &mut World<'_>,
    open: impl FnOnce(Option<&Path>, Option<&str>) -> Result<S, OpenError>,
) -> Result<(), Failure> {
    let (below, rest) = words.split_first().expect("the usage asks for one");
    if below != "diags" {
        return world.print(format_args!("{}\n\n", usage::CLUSTER.help()));
    }
    let Some(args) = read(&usage::CLUSTER_DIAGS, rest, world)? else {
        return Ok(());
    };
    let store = opened(&args, world, open)?;
    let client = checked(&args, allow, &store)?;
    cluster::diags(&args, &client, world)
}

fn on_ipam<S: Store + Sync>(
    words: &[String],
    allow: bool,
    world: &mut World<'_>,
    open: impl FnOnce(Option<&Path>, Option<&str>) -> Result<S, OpenError>,
) -> Result<(), Failure> {
    let (below, rest) = words.split_first().expect("the usage asks for one");
    let usage = match below.as_str() {
        "show" => &usage::IPAM_SHOW,
        "release" => &usage::IPAM_RELEASE,
        "configure" => &usage::IPAM_CONFIGURE,
        "check" => &usage::IPAM_CHECK,
        "split" => &usage::IPAM_SPLIT,
        "collect" if world.persona == Persona::Selvedge => &usage::IPAM_COLLECT,
        _ => return world.print(format_args!("{}\n\n", usage::IPAM.help())),
    };
    let Some(args) = read(usage, rest, world)? else {
        return Ok(());
    };
    let store = opened(&args, world, open)?;
    let client = checked(&args, allow, &store)?;
    match below.as_str() {
        "show" => ipam::show(&args, &client, world),
        "check" => ipam::check::run(&args, &client, world),
        "collect" => ipam::collect::run(&args, &client, world),
        "release" => ipam::release::run(&args, &client, world),
        "split" => ipam::split::run(&args, &client, &store, world),
        _ => ipam::configure(&args, &client, world),
    }
}

fn on_datastore<S: Store + Sync>(
    rest: &[String],
    allow: bool,
    world: &mut World<'_>,
    open: impl FnOnce(Option<&Path>, Option<&str>) -> Result<S, OpenError>,
) -> Result<(), Failure> {
    let Some(args) = read(&usage::DATASTORE, rest, world)? else {
        return Ok(());
    };
    let (below, rest) = args
        .positionals
        .split_first()
        .expect("the usage asks for one");
    match (below.as_str(), world.persona) {
        ("migrate", Persona::Calicoctl | Persona::Selvedge) => (),
        ("crds", Persona::Selvedge) => return crds::run(rest, world),
        (_, Persona::Calicoctl | Persona::Selvedge) => {
            return world.print(format_args!("{}\n\n", usage::DATASTORE.help()));
        }
    }
    on_migrate(rest, allow, world, open)
}

fn on_migrate<S: Store + Sync>(
    rest: &[String],
    allow: bool,
    world: &mut World<'_>,
    open: impl FnOnce(Option<&Path>, Option<&str>) -> Result<S, OpenError>,
) -> Result<(), Failure> {
    let Some(args) = read(&usage::DATASTORE_MIGRATE, rest, world)? else {
        return Ok(());
    };
    let (below, rest) = args
        .positionals
        .split_first()
        .expect("the usage asks for one");
    let usage = match below.as_str() {
        "lock" => &usage::DATASTORE_LOCK,
        "unlock" => &usage::DATASTORE_UNLOCK,
        "export" => &usage::DATASTORE_EXPORT,
        "import" if world.persona == Persona::Selvedge => &usage::DATASTORE_IMPORT,
        "import" => &usage::DATASTORE_IMPORT_CALICO,
        _ => return world.print(format_args!("{}\n\n", usage::DATASTORE_MIGRATE.help())),
    };
    let Some(args) = read(usage, rest, world)? else {
        return Ok(());
    };
    match (below.as_str(), world.persona) {
        // Calico moves a cluster to Kubernetes' API only.
        ("import", Persona::Calicoctl) => {
            let config = configuration(&args, world)?;
            if config.datastore.name() != "kubernetes" {
                return Err(Failure::message(format!(
                    "invalid datastore type: {} to import to for datastore migration. Datastore type must be kubernetes",
                    config.datastore.name()
                )));
            }
        }
        (_, Persona::Calicoctl | Persona::Selvedge) => (),
    }
    let store = opened(&args, world, open)?;
    let client = checked(&args, allow, &store)?;
    if world.persona == Persona::Calicoctl && matches!(below.as_str(), "lock" | "unlock") {
        client.initialise(world)?;
    }
    match below.as_str() {
        "export" if world.persona == Persona::Calicoctl => {
            migrate::check_locked(&store)?;
            migrate_kubernetes::export(&client, &store, world)
        }
        "lock" => migrate::set_ready(&store, false, world),
        "unlock" => migrate::set_ready(&store, true, world),
        "export" => migrate::export(&store, world),
        _ => migrate::import(&args, &store, world),
    }
}

fn on_resources<S: Store + Sync>(
    word: &str,
    args: &Args,
    client: &Client<'_, S>,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    match word {
        "get" => get::run(args, client, world),
        "create" => change::write(Verb::Create, args, client, world),
        "apply" => change::write(Verb::Apply, args, client, world),
        "replace" => change::write(Verb::Replace, args, client, world),
        "delete" => change::delete(args, client, world),
        "patch" => edit::patch(args, client, world),
        _ => edit::label(args, client, world),
    }
}

/// Reads the rest of the line against a command's usage; `None` after its help was printed.
pub(crate) fn read(
    usage: &Usage,
    rest: &[String],
    world: &mut World<'_>,
) -> Result<Option<Args>, Failure> {
    match usage.read(rest) {
        Ok(args) => Ok(Some(args)),
        Err(Misuse::Help) => {
            world.print(format_args!("{}\n", usage.help()))?;
            Ok(None)
        }
        Err(Misuse::Usage) => Err(Failure::Message {
            text: usage.pattern().to_string(),
            hint: Some("this command with --help says more".to_string()),
        }),
    }
}

/// The datastore's configuration, for who only tells of it: the file that is named, else the usual one, else the environment.
fn configuration(args: &Args, world: &World<'_>) -> Result<store::Config, Failure> {
    let usual = world.path(store::DEFAULT_CONFIG_FILE);
    let named = args
        .get("config")
        .filter(|file| *file != store::DEFAULT_CONFIG_FILE)
        .map(Path::new);
    let config = match named.or(usual.exists().then_some(usual.as_path())) {
        Some(file) => store::Config::load_in(Some(file), args.get("context")),
        None => {
            store::Config::from_variables(store::in_context(args.get("context"), world.environment))
        }
    };
    config.map_err(Failure::message)
}

fn opened<S: Store + Sync>(
    args: &Args,
    world: &mut World<'_>,
    open: impl FnOnce(Option<&Path>, Option<&str>) -> Result<S, OpenError>,
) -> Result<S, Failure> {
    // The default, named, is as if it were not named.
    let file = args
        .get("config")
        .filter(|file| *file != store::DEFAULT_CONFIG_FILE)
        .map(Path::new);
    match open(file, args.get("context")) {
        Ok(store) => Ok(store),
        Err(OpenError::NoConfig(text)) => {
            world.print(format_args!("{text}\n"))?;
            Err(Failure::Told)
        }
        Err(OpenError::Other(text)) => Err(Failure::message(text)),
    }
}

fn checked<'a, S: Store + Sync>(
    args: &Args,
    allow: bool,
    store: &'a S,
) -> Result<Client<'a, S>, Failure> {
    let client = Client::new(store);
    if !allow {
        version::check(args, &client)?;
    }
    Ok(client)
}
