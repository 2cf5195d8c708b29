//! A place of its own for labs, and the binary that makes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub const TWO_HOSTS: &str = r#"
title = "two hosts"
[[lan]]
name = "lan"
[[host]]
name = "harbor"
nics = [{ name = "ens192", lan = "lan", address = "192.0.2.1/24" }]
[[host]]
name = "vm"
nics = [{ name = "ens192", lan = "lan", address = "192.0.2.2/24" }]
"#;

/// The binary: the one that SELVEDGE_BIN names (a copy that an ordinary user may read), else built as `cargo build` builds it.
pub fn binary() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(path) = std::env::var_os("SELVEDGE_BIN") {
            return PathBuf::from(path);
        }
        let cargo = env!("CARGO");
        let mut build = Command::new(cargo);
        build.args([
            "build",
            "--quiet",
            "--package",
            "selvedge",
            "--message-format",
            "json",
        ]);
        let output = build
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        let paths = lines
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let path = paths
            .filter_map(|line| line["executable"].as_str().map(PathBuf::from))
            .next_back();
        path.expect("the build names its binary")
    })
}

/// A place of its own for labs, so that tests do not see each other's or the developer's.
pub struct Place {
    pub runtime: tempfile::TempDir,
}

impl Place {
    /// Nothing where this machine refuses namespaces.
    pub fn new() -> Option<Self> {
        let place = Self {
            runtime: tempfile::tempdir().expect("a temporary folder"),
        };
        fs::write(place.runtime.path().join("two.toml"), TWO_HOSTS).expect("written");
        let up = place.lab(&["up", "./two.toml", "--name", "try"]);
        if String::from_utf8_lossy(&up.stderr).contains("refuses namespaces") {
            println!("skipped: this machine refuses namespaces");
            return None;
        }
        assert!(up.status.success(), "{up:?}");
        assert!(place.lab(&["down", "try"]).status.success());
        Some(place)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        // Whoever started these tests may ignore signals (nohup, a background job), and children inherit that.
        let mut command = Command::new("env");
        command
            .arg("--default-signal=INT,HUP,TERM")
            .arg(binary())
            .arg("lab")
            .args(arguments)
            .env("XDG_RUNTIME_DIR", self.runtime.path());
        command
            .current_dir(self.runtime.path())
            .stdin(Stdio::null());
        command
    }

    pub fn lab(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("selvedge runs")
    }

    pub fn said(&self, arguments: &[&str]) -> String {
        let output = self.lab(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Folders of labs that are there.
    pub fn folders(&self) -> Vec<String> {
        let entries = fs::read_dir(self.runtime.path().join("selvedge-lab"))
            .into_iter()
            .flatten()
            .flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| !name.starts_with('.')).collect()
    }

    /// Processes whose command line holds this place's path or `word`: those of its labs.
    pub fn processes(&self, word: &str) -> Vec<String> {
        let here = self.runtime.path().to_string_lossy().into_owned();
        let lines = fs::read_dir("/proc")
            .expect("/proc")
            .flatten()
            .filter_map(|entry| {
                let text = fs::read(entry.path().join("cmdline")).ok()?;
                Some(String::from_utf8_lossy(&text).replace('\0', " "))
            });
        lines
            .filter(|line| line.contains(&here) || line.contains(word))
            .collect()
    }

    /// Waits until nothing of any lab is left: no process, no mount, no folder.
    pub fn wait_until_nothing_is_left(&self, word: &str) {
        let began = Instant::now();
        loop {
            let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
            let mounted = mounts.contains(&*self.runtime.path().to_string_lossy());
            let left = (self.processes(word), mounted, self.folders());
            if left == (vec![], false, vec![]) {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(10), "left: {left:?}");
            std::thread::yield_now();
        }
    }
}

impl Drop for Place {
    /// A test that failed half-way leaves no lab either.
    fn drop(&mut self) {
        self.lab(&["down", "--all"]);
    }
}
