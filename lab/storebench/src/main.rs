//! The command, address management and watches on SQLite and on a real etcd, measured beside etcdctl in the same run.
//!
//! `storebench PROGRAM` measures the `selvedge` at that path. RUNS (5) says how often; each figure is the median with the
//! lowest and highest. `docs/howto/bench.md` says how to read it.

mod command;
mod report;
mod works;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use report::Report;
use store::testing::{self, Etcd, Kubernetes};
use tempfile::TempDir;

/// A datastore that is measured.
pub enum Site {
    /// A file in a directory of its own.
    Sqlite(TempDir),
    /// One member on loopback, which flushes as it does in production.
    Etcd(Box<Etcd>),
    /// An API server on loopback; only the command is measured on it.
    Kubernetes(Box<Kubernetes>),
}

impl Site {
    fn name(&self) -> &'static str {
        match self {
            Site::Sqlite(_) => "sqlite",
            Site::Etcd(_) => "etcd",
            Site::Kubernetes(_) => "kubernetes",
        }
    }

    /// What a program's environment says of it.
    fn variables(&self) -> Vec<(&'static str, String)> {
        match self {
            Site::Sqlite(directory) => {
                let path = directory.path().join("selvedge.db");
                vec![("SELVEDGE_SQLITE_PATH", path.display().to_string())]
            }
            Site::Etcd(etcd) => vec![
                ("DATASTORE_TYPE", "etcdv3".to_string()),
                ("ETCD_ENDPOINTS", etcd.endpoints()),
            ],
            Site::Kubernetes(server) => vec![
                ("DATASTORE_TYPE", "kubernetes".to_string()),
                ("KUBECONFIG", server.kubeconfig().display().to_string()),
            ],
        }
    }

    /// A store of its own connection.
    fn open(&self) -> Result<store::AnyStore> {
        let variables = self.variables();
        let value = |name: &str| {
            variables
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| v.clone())
        };
        let config = store::Config::from_variables(value)?;
        Ok(store::open(&config)?)
    }
}

/// One of each kind that can be had here.
fn sites() -> Result<Vec<Site>> {
    let mut sites = vec![Site::Sqlite(tempfile::tempdir()?)];
    if testing::missing().is_none() {
        sites.push(Site::Etcd(Box::new(Etcd::start_on_disk())));
    }
    Ok(sites)
}

fn main() -> Result<()> {
    let mut words = std::env::args_os().skip(1);
    let (Some(program), None) = (words.next().map(PathBuf::from), words.next()) else {
        bail!("say which program is measured: storebench target/release/selvedge");
    };
    if !program.is_file() {
        bail!("{} is not there: build it first", program.display());
    }
    let runs = match std::env::var("RUNS") {
        Ok(text) => text.parse().context("RUNS is a number")?,
        Err(_) => 5,
    };
    let mut report = Report::new();
    if let Some(reason) = testing::missing() {
        println!("skipped: etcd: {reason}");
    }
    if !testing::kubernetes_skipped() {
        let server = Site::Kubernetes(Box::new(Kubernetes::start()));
        command::seed(&server, &program)?;
        for _ in 0..runs {
            command::measure(&server, &program, &mut report)?;
        }
    }
    // A thousand pools for the command; one for addresses, which are looked for in all there are.
    let (full, plain) = (sites()?, sites()?);
    for (full, plain) in full.iter().zip(&plain) {
        command::seed(full, &program)?;
        works::seed(plain)?;
    }
    for _ in 0..runs {
        for (full, plain) in full.iter().zip(&plain) {
            command::measure(full, &program, &mut report)?;
            works::assigns(plain, &mut report)?;
            works::fan_out(plain, &mut report)?;
        }
    }
    report.print();
    Ok(())
}
