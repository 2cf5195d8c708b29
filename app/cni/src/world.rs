//! What a call finds around it: the node's name, the store, whether the cluster is ready, the time.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use resource::kinds::ClusterInformation;
use resource::{Key, Kind, Object, Store};
use store::{AnyStore, Config, block_on};

use crate::conf::NetConf;
use crate::failure::Failure;

const NODENAME_FILE: &str = "/var/lib/calico/nodename";
const MTU_FILE: &str = "/var/lib/calico/mtu";
const IPAM_LOCK_FILE: &str = "/var/run/calico/ipam.lock";

fn nodename_file(conf: &NetConf) -> &Path {
    Path::new(if conf.nodename_file.is_empty() {
        NODENAME_FILE
    } else {
        &conf.nodename_file
    })
}

/// Refuses to go on before the node's agent has run once.
pub fn check_nodename_file(conf: &NetConf) -> Result<(), Failure> {
    let path = nodename_file(conf);
    match fs::metadata(path) {
        Ok(_) => Ok(()),
        Err(_) if conf.nodename_file_optional => Ok(()),
        Err(e) => {
            let reason = match e.kind() {
                io::ErrorKind::NotFound => "no such file or directory".to_string(),
                _ => e.to_string(),
            };
            Err(Failure::internal(format!(
                "stat {}: {reason}: check that the calico/node container is running and has mounted /var/lib/calico/",
                path.display()
            )))
        }
    }
}

/// The node's name: the configuration's, the file's, the configuration's `hostname`, the host's in lower case.
pub fn node_name(conf: &NetConf) -> String {
    let from_file = || {
        fs::read_to_string(nodename_file(conf))
            .unwrap_or_default()
            .trim()
            .to_string()
    };
    let from_host = || {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        name.trim().to_lowercase()
    };
    let given = [conf.nodename.clone(), from_file(), conf.hostname.clone()];
    given
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or_else(from_host)
}

/// The MTU of both ends; `None` leaves it to the kernel.
pub fn mtu(conf: &NetConf) -> Result<Option<u32>, Failure> {
    if conf.mtu != 0 {
        return Ok(Some(conf.mtu));
    }
    match fs::read_to_string(MTU_FILE) {
        Ok(text) => {
            let number = text.trim().parse();
            number
                .map(Some)
                .map_err(|e| Failure::internal(format!("{MTU_FILE} says {:?}: {e}", text.trim())))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound && !conf.require_mtu_file => Ok(None),
        Err(e) => Err(Failure::internal(format!("open {MTU_FILE}: {e}"))),
    }
}

/// Opens the store: the configuration's, else what `calicoctl.cfg` or the environment says, else the default.
pub fn open_store(conf: &NetConf) -> Result<AnyStore, Failure> {
    if !conf.names_a_datastore() {
        return Ok(store::open(
            &Config::load(None).map_err(Failure::internal)?,
        )?);
    }
    // What the configuration says is not to be overruled from outside by the same name with a prefix.
    let variable = |name: &str| {
        let said = conf.datastore_variable(name);
        let plain = name.strip_prefix("CALICO_");
        match plain.and_then(|plain| conf.datastore_variable(plain)) {
            Some(_) if said.is_none() => None,
            Some(_) | None => said.or_else(|| std::env::var(name).ok()),
        }
    };
    let config =
        Config::from_source("the CNI configuration", variable).map_err(Failure::internal)?;
    Ok(store::open(&config)?)
}

/// Refuses to go on while the cluster is locked, or was never set up.
pub fn check_ready(store: &AnyStore) -> Result<(), Failure> {
    let key = Key::cluster(Kind::ClusterInformation, "default");
    let entry = block_on(store.get(&key))?.ok_or_else(|| {
        Failure::internal(format!(
            "error getting ClusterInformation: resource does not exist: {key} with error: <nil>"
        ))
    })?;
    let information: ClusterInformation = Object::from_entry(&entry)?;
    if information.spec.datastore_ready == Some(true) {
        return Ok(());
    }
    Err(Failure::internal(
        "Calico is currently not ready to process requests",
    ))
}

/// Unix nanoseconds.
pub fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A random UUID, from the kernel.
pub fn new_uid() -> Result<String, Failure> {
    let path = "/proc/sys/kernel/random/uuid";
    let text = fs::read_to_string(path).map_err(|e| Failure::internal(format!("{path}: {e}")))?;
    Ok(text.trim().to_string())
}

/// How long a call waits for the others of its host; one that hangs must not stop them all.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// An allocation takes a few milliseconds.
const LOCK_STEP: Duration = Duration::from_micros(300);

/// Holds off the other calls on this host while addresses are taken or given back. Only to spare retries: without it (no
/// directory, no permission, a holder that hangs) compare-and-swap decides alone.
pub fn lock_ipam(conf: &NetConf) -> Option<File> {
    let path = if conf.ipam_lock_file.is_empty() {
        IPAM_LOCK_FILE
    } else {
        &conf.ipam_lock_file
    };
    let open = || {
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
    };
    let file = open().or_else(|_| {
        if let Some(directory) = Path::new(path).parent() {
            fs::create_dir_all(directory)?;
        }
        open()
    });
    let file = file.ok()?;
    let until = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Some(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                std::thread::sleep(LOCK_STEP);
            }
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return None,
        }
    }
}
