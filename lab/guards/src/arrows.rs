//! Which crate may depend on which.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Crates that would bring a kernel, a runtime or a store into `core/`.
pub const NOT_IN_CORE: [&str; 6] = ["tokio", "mio", "libc", "rusqlite", "tonic", "kube"];

/// A folder of the workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Folder {
    /// Pure.
    Core,
    /// Touches the world.
    Host,
    /// What people run.
    App,
    /// Where it is tried.
    Lab,
}

impl Folder {
    /// The folder of a crate's path below the workspace: `core/dns` is in [`Folder::Core`].
    pub fn of(path: &str) -> Option<Folder> {
        match path.split('/').next() {
            Some("core") => Some(Folder::Core),
            Some("host") => Some(Folder::Host),
            Some("app") => Some(Folder::App),
            Some("lab") => Some(Folder::Lab),
            _ => None,
        }
    }

    /// Whether crates of this folder may use those of another: app -> host -> core and lab -> host, core.
    fn may_use(self, other: Folder) -> bool {
        match (self, other) {
            (Folder::Core, Folder::Core) => true,
            (Folder::Host, Folder::Core | Folder::Host) => true,
            (Folder::App, Folder::Core | Folder::Host | Folder::App) => true,
            (Folder::Lab, Folder::Core | Folder::Host | Folder::Lab) => true,
            (Folder::Core, Folder::Host | Folder::App | Folder::Lab) => false,
            (Folder::Host, Folder::App | Folder::Lab) => false,
            (Folder::App, Folder::Lab) => false,
            (Folder::Lab, Folder::App) => false,
        }
    }
}

/// One crate uses another of the workspace; both by their path below it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrow {
    /// `app/cni`.
    pub from: String,
    /// `core/ipam`.
    pub to: String,
}

impl fmt::Display for Arrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.from, self.to)
    }
}

/// The arrows that no folder allows. The binary's `lab` subcommand is the one way from app to lab.
pub fn turned_back(arrows: &[Arrow]) -> Vec<String> {
    let allowed = |arrow: &Arrow| match (Folder::of(&arrow.from), Folder::of(&arrow.to)) {
        (Some(_), Some(Folder::Lab)) if arrow.from == "app/selvedge" => arrow.to != "lab/guards",
        (Some(from), Some(to)) => from.may_use(to),
        (None, _) | (_, None) => false,
    };
    let broken = arrows.iter().filter(|a| !allowed(a));
    broken.map(ToString::to_string).collect()
}

/// Crates by name, each with the crates that are linked into it.
pub type Links = BTreeMap<String, BTreeSet<String>>;

/// For each of `roots` the first way to each of [`NOT_IN_CORE`], as `dns -> a -> tokio`.
pub fn impure(links: &Links, roots: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for root in roots {
        let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
        let mut queue = vec![root.as_str()];
        let mut next = 0;
        while let Some(&at) = queue.get(next) {
            next += 1;
            for to in links.get(at).into_iter().flatten() {
                if to != root && !came_from.contains_key(to.as_str()) {
                    came_from.insert(to, at);
                    queue.push(to);
                }
            }
        }
        for bad in NOT_IN_CORE {
            if came_from.contains_key(bad) {
                found.push(way(&came_from, bad));
            }
        }
    }
    found
}

fn way(came_from: &BTreeMap<&str, &str>, to: &str) -> String {
    let mut steps = vec![to];
    while let Some(before) = came_from.get(steps[steps.len() - 1]) {
        steps.push(before);
    }
    steps.reverse();
    steps.join(" -> ")
}
