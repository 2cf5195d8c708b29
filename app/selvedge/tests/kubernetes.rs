//! A session of calicoctl 3.32.1 and Calico's plugin on the Kubernetes API, run again with our own program on a real kube-apiserver: what
//! they printed is what we print, and what they wrote is what we write.
//!
//! The session in `golden/` is a fact of an interface. Left out of it are two kinds of lines on stderr: warnings of Calico's client
//! library about its own CustomResourceDefinitions, and the plugin's log. Masked is what is random or counts writes.
//!
//! Server, program and pod are in namespaces of the test's own, in which it starts itself again.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use store::testing::{Kubernetes, kubernetes_skipped};

/// Set inside the namespaces.
const INSIDE: &str = "SELVEDGE_TEST_INSIDE";

/// Commands that are answered in another way here, and why.
const DIFFERENT: &[(&str, &str)] = &[];

struct Site {
    kubernetes: Kubernetes,
    directory: PathBuf,
}

impl Site {
    /// As the session began: two nodes, one with a label and a pod range, and an account.
    fn start(directory: &Path) -> Site {
        let kubernetes = Kubernetes::start();
        for (name, labels, range) in [
            ("node-1", json!({"zone": "a"}), Some("10.244.1.0/24")),
            ("node-2", json!({}), None),
        ] {
            let spec = json!({"podCIDR": range, "podCIDRs": range.iter().collect::<Vec<_>>()});
            let node = json!({"metadata": {"name": name, "labels": labels}, "spec": spec});
            kubernetes.post("/api/v1/nodes", &node);
            let address =
                json!([{"type": "InternalIP", "address": format!("10.0.0.{}", &name[5..])}]);
            let status = json!({"status": {"addresses": address}});
            kubernetes.request(
                "PATCH",
                &format!("/api/v1/nodes/{name}/status"),
                Some(&status),
            );
        }
        kubernetes.post(
            "/api/v1/namespaces/default/serviceaccounts",
            &json!({"metadata": {"name": "app"}}),
        );
        for namespace in ["a", "ab", "ns"] {
            // Those are for other tests; the controller that would end them does not run.
            let path = format!("/api/v1/namespaces/{namespace}");
            kubernetes.request("DELETE", &path, None);
            kubernetes.request(
                "PUT",
                &format!("{path}/finalize"),
                Some(&json!({"metadata": {"name": namespace}, "spec": {"finalizers": []}})),
            );
        }
        for program in ["calicoctl", "calico", "calico-ipam", "selvedge"] {
            symlink(env!("CARGO_BIN_EXE_selvedge"), directory.join(program)).unwrap();
        }
        Site {
            kubernetes,
            directory: directory.to_path_buf(),
        }
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.directory.join(name));
        command
            .env("DATASTORE_TYPE", "kubernetes")
            .env("KUBECONFIG", self.kubernetes.kubeconfig())
            .env_remove("ETCD_ENDPOINTS");
        command
    }

    /// One command of the session.
    fn run(&self, words: &[String], stdin: &str) -> String {
        match words[0].as_str() {
            "kubectl" => self.kubectl(&words[1..]),
            "cni" => self.plugin(&words[1]),
            program => {
                let mut command = self.program(program);
                command.args(&words[1..]);
                transcript(&fed(&mut command, stdin))
            }
        }
    }

    /// What kubectl would show.
    fn kubectl(&self, words: &[String]) -> String {
        let shown = match words[1].as_str() {
            "node" => self.shown("v1", "Node", &format!("/api/v1/nodes/{}", words[2])),
            "pod" if words[4].starts_with("jsonpath") => {
                let pod =
                    self.kubernetes
                        .request("GET", "/api/v1/namespaces/default/pods/web-0", None);
                let annotations = pod["metadata"]["annotations"].to_string();
                return format!("{annotations}<no newline at end of stdout>\n[exit 0]");
            }
            "pod" => self.shown("v1", "Pod", "/api/v1/namespaces/default/pods/web-0"),
            types => {
                let lists = types.split(',').filter_map(|name| name.split_once('.'));
                let items: Vec<Value> = lists
                    .flat_map(|(plural, group)| self.all(plural, group))
                    .collect();
                if items.is_empty() {
                    return "[stderr] No resources found\n[exit 0]".to_string();
                }
                json!({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}})
            }
        };
        let mut shown = shown;
        sort(&mut shown);
        format!(
            "{}[exit 0]",
            as_kubectl(&serde_yaml_ng::to_string(&shown).unwrap())
        )
    }

    fn all(&self, plural: &str, group: &str) -> Vec<Value> {
        let list = self
            .kubernetes
            .request("GET", &format!("/apis/{group}/v1/{plural}"), None);
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.into_iter().map(without_fields).collect()
    }

    fn shown(&self, api_version: &str, kind: &str, path: &str) -> Value {
        let mut object = without_fields(self.kubernetes.request("GET", path, None));
        object["apiVersion"] = json!(api_version);
        object["kind"] = json!(kind);
        object
    }

    fn plugin(&self, verb: &str) -> String {
        if verb == "ADD" && !Path::new("/run/netns/p0").exists() {
            run("ip netns add p0");
            let container = json!({"name": "c", "image": "x", "ports": [{"name": "http", "containerPort": 80}]});
            let pod = json!({"metadata": {"name": "web-0", "labels": {"app": "web"}},
                "spec": {"nodeName": "node-1", "serviceAccountName": "app", "containers": [container]}});
            self.kubernetes
                .post("/api/v1/namespaces/default/pods", &pod);
        }
        let conf = json!({
            "cniVersion": "1.0.0", "name": "k8s-pod-network", "type": "calico", "nodename": "node-1",
            "nodename_file_optional": true, "datastore_type": "kubernetes", "ipam": {"type": "calico-ipam"},
            "policy": {"type": "k8s"}, "kubernetes": {"kubeconfig": self.kubernetes.kubeconfig()},
        });
        let mut command = self.program("calico");
        command
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", "abcdef0123456789")
            .env("CNI_NETNS", "/run/netns/p0")
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", &self.directory)
            .env(
                "CNI_ARGS",
                "K8S_POD_NAME=web-0;K8S_POD_NAMESPACE=default;IgnoreUnknown=1",
            );
        let output = fed(&mut command, &conf.to_string());
        let mut text = String::new();
        if !output.stdout.is_empty() {
            let mut answer: Value = serde_json::from_slice(&output.stdout).unwrap();
            sort(&mut answer);
            let mut indented = Vec::new();
            let form = serde_json::ser::PrettyFormatter::with_indent(b"    ");
            serde::Serialize::serialize(
                &answer,
                &mut serde_json::Serializer::with_formatter(&mut indented, form),
            )
            .unwrap();
            text = format!(
                "{}<no newline at end of stdout>\n",
                String::from_utf8(indented).unwrap()
            );
        }
        format!("{text}[exit {}]", output.status.code().unwrap_or(-1))
    }
}

/// YAML with kubectl's choice of quotes: double ones for what would be read as a number, a truth value or nothing.
fn as_kubectl(yaml: &str) -> String {
    let quoted = |text: &str| {
        let inner = text.strip_prefix('\'')?.strip_suffix('\'')?;
        let plain = inner.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
        plain.then(|| format!("\"{inner}\""))
    };
    let line = |line: &str| {
        let indent = line.len() - line.trim_start().len();
        let Some((key, value)) = line[indent..].split_once(':') else {
            return line.to_string();
        };
        let value = value
            .strip_prefix(' ')
            .map(|v| format!(" {}", quoted(v).unwrap_or(v.to_string())));
        format!(
            "{}{}:{}",
            &line[..indent],
            quoted(key).unwrap_or(key.to_string()),
            value.unwrap_or_default()
        )
    };
    yaml.lines().map(|l| line(l) + "\n").collect()
}

/// What kubectl does not show.
fn without_fields(mut object: Value) -> Value {
    let metadata = object["metadata"].as_object_mut().expect("metadata");
    metadata.remove("managedFields");
    object
}

fn sort(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.sort_keys();
    }
    match value {
        Value::Object(fields) => fields.values_mut().for_each(sort),
        Value::Array(items) => items.iter_mut().for_each(sort),
        _ => (),
    }
}

fn fed(command: &mut Command, stdin: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(stdin.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

fn transcript(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text += "<no newline at end of stdout>\n";
    }
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        text += &format!("[stderr] {line}\n");
    }
    text + &format!("[exit {}]", output.status.code().unwrap_or(-1))
}

/// Hides what differs from run to run: numbers, times and random words, where their fields say so.
fn masked(text: &str) -> String {
    const HIDDEN: [&str; 10] = [
        "uid:",
        "resourceVersion:",
        "creationTimestamp:",
        "generation:",
        "clusterGUID:",
        "affinityClaimTime:",
        "sequenceNumber:",
        "timestamp:",
        "\"mac\":",
        "\"0\":",
    ];
    let line = |line: &str| {
        let field = line.trim_start();
        let hidden = HIDDEN.iter().find(|name| field.starts_with(**name));
        let time = "creationTimestamp\":\"";
        match (hidden, line.split_once(time)) {
            (Some(name), _) => format!("{}{name} *", &line[..line.len() - field.len()]),
            (None, Some((before, after))) => format!("{before}{time}*{}", &after[20..]),
            (None, None) => line.trim_end_matches(' ').to_string(),
        }
    };
    let lines: Vec<String> = text.trim_end().lines().map(line).collect();
    lines.join("\n")
}

/// The commands, what is fed to them, and what came of it.
fn steps(text: &str) -> Vec<(Vec<String>, String, String)> {
    let mut steps = Vec::new();
    for part in format!("\n{text}").split("\n$ ").skip(1) {
        let (line, rest) = part.split_once('\n').unwrap();
        let (line, stdin, rest) = match line.strip_suffix(" <<E") {
            None => (line, "", rest),
            Some(line) => {
                let (stdin, rest) = rest.split_once("\nE\n").unwrap();
                (line, stdin, rest)
            }
        };
        // The one argument with spaces in it is in quotes, and there are none in it.
        let words = line.split('\'').enumerate().flat_map(|(i, part)| {
            let words: Vec<String> = match i % 2 {
                0 => part.split_whitespace().map(String::from).collect(),
                _ => vec![part.to_string()],
            };
            words
        });
        steps.push((words.collect(), stdin.to_string(), rest.to_string()));
    }
    steps
}

fn run(line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {error}");
}

/// Starts this test again in namespaces of its own; true inside.
fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        run("mount -t tmpfs tmpfs /run");
        run("ip link set lo up");
        // The server wants to have an address that others could reach.
        run("ip link add lan type veth peer name cable");
        run("ip address add 192.0.2.1/24 dev lan");
        run("ip link set cable up");
        run("ip link set lan up");
        run("ip route add default via 192.0.2.254");
        return true;
    }
    let status = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success());
    false
}

#[test]
fn a_session_on_kubernetes() {
    if kubernetes_skipped() || !inside("a_session_on_kubernetes") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let site = Site::start(directory.path());
    let text = include_str!("golden/kubernetes.txt");
    let mut wrong = Vec::new();
    let steps = steps(text);
    let count = steps.len();
    for (words, stdin, expected) in steps {
        let line = words.join(" ");
        let found = masked(&site.run(&words, &stdin));
        let expected = masked(&expected);
        let differs = DIFFERENT.iter().any(|(begin, _)| line.starts_with(begin));
        if (found == expected) == differs {
            wrong.push(format!(
                "$ {line}\n--- expected\n{expected}\n--- found\n{found}\n"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {count} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
