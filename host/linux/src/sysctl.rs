//! Kernel parameters, through /proc/sys of the calling thread's network namespace.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use dataplane::{Actual, Sysctl, owned_sysctls};

use crate::error::KernelError;
use crate::kernel::Applied;

fn sysctl_path(path: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(path)
}

/// Reads the parameters of all links there are.
pub(crate) fn read_sysctls(actual: &mut Actual) {
    actual.sysctls = sysctl_values(actual.links.keys().map(String::as_str));
}

/// The parameters that are there, of all links named.
pub(crate) fn sysctl_values<'a>(links: impl Iterator<Item = &'a str>) -> BTreeMap<String, String> {
    let paths = owned_sysctls(links);
    let read = |path: String| {
        fs::read_to_string(sysctl_path(&path))
            .ok()
            .map(|text| (path, text.trim().to_owned()))
    };
    paths.into_iter().filter_map(read).collect()
}

/// Writes one.
pub(crate) fn write_sysctl(sysctl: &Sysctl) -> Applied {
    fs::write(sysctl_path(&sysctl.path), &sysctl.value).map_err(|error| {
        KernelError::of_io(
            format!("set /proc/sys/{} to {}", sysctl.path, sysctl.value),
            &error,
        )
    })
}
