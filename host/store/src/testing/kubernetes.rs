//! A real kube-apiserver, with an etcd behind it and nothing around it: no kubelet, no controllers.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use kubernetes::Group;
use resource::{Key, KeyPrefix, Kind, Store, StoreError};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::etcd::{self, Etcd, STARTS_IN};
use crate::{KubernetesOptions, KubernetesStore, Login, Pem, Token, block_on};

/// The bearer token of a user who may do everything.
const TOKEN: &str = "a-token-for-tests";
/// And of a user `selvedge` who may do what roles say.
const USER_TOKEN: &str = "another-token-for-tests";

/// An API server. `crd.projectcalico.org/v1` and `projectcalico.org/v3` are both installed.
#[derive(Debug)]
pub struct Kubernetes {
    directory: TempDir,
    /// An own one of this network namespace that it listens on, beside loopback.
    address: Option<String>,
    port: u16,
    server: Option<Child>,
    etcd: Etcd,
    /// One test at a time works on a server that tests share.
    alone: Mutex<()>,
}

/// Where the program is: `KUBE_APISERVER`, else where `make kubernetes` keeps it, else on the PATH.
fn program() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let kept = variable("XDG_CACHE_HOME")
        .or_else(|| Some(variable("HOME")?.join(".cache")))
        .map(|cache| cache.join("selvedge/kube-apiserver"));
    let on_path = std::env::var_os("PATH");
    let on_path = on_path.iter().flat_map(std::env::split_paths);
    let places = variable("KUBE_APISERVER")
        .into_iter()
        .chain(kept)
        .chain(on_path.map(|d| d.join("kube-apiserver")));
    places.into_iter().find(|path| path.is_file())
}

/// Whether tests with an API server cannot run here; says so where not.
pub fn skipped() -> bool {
    let reason = match program() {
        Some(_) => etcd::missing(),
        None => Some("there is no kube-apiserver (`make kubernetes` builds it)".to_string()),
    };
    if let Some(reason) = &reason {
        println!("skipped: kubernetes: {reason}");
    }
    reason.is_some()
}

impl Kubernetes {
    /// The server that the tests of this program share, started by the first of them and ended with the last that holds it.
    ///
    /// # Panics
    /// When it does not start; so do all functions here.
    pub fn shared() -> Arc<Kubernetes> {
        static SHARED: Mutex<Weak<Kubernetes>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Kubernetes::start());
            *shared = Arc::downgrade(&started);
            started
        })
    }

    /// A server of one's own.
    pub fn start() -> Kubernetes {
        Kubernetes::start_with(None)
    }

    /// One that others reach at an address of this network namespace.
    pub fn start_on(address: &str) -> Kubernetes {
        Kubernetes::start_with(Some(address.to_string()))
    }

    fn start_with(address: Option<String>) -> Kubernetes {
        let directory = etcd::directory().expect("a directory");
        let etcd = Etcd::start();
        let at = |name: &str| directory.path().join(name);
        let made = Command::new("openssl")
            .args(["genrsa", "-out"])
            .arg(at("accounts.key"))
            .stderr(Stdio::null())
            .status();
        assert!(made.expect("openssl").success());
        fs::write(
            at("tokens.csv"),
            format!("{TOKEN},admin,admin,\"system:masters\"\n{USER_TOKEN},selvedge,selvedge\n"),
        )
        .expect("a file");
        assert!(etcd::certificates(directory.path()));
        let mut kubernetes = Kubernetes {
            directory,
            address,
            port: etcd::ports(1).expect("a port")[0],
            server: None,
            etcd,
            alone: Mutex::new(()),
        };
        kubernetes.spawn();
        for namespace in ["a", "ab", "ns"] {
            kubernetes.post(
                "/api/v1/namespaces",
                &json!({"metadata": {"name": namespace}}),
            );
        }
        kubernetes.install(&definitions());
        kubernetes
    }

    fn spawn(&mut self) {
        let at = |name: &str| self.directory.path().join(name).display().to_string();
        let accounts = at("accounts.key");
        let log = File::options()
            .create(true)
            .append(true)
            .open(at("server.log"));
        let log = log.expect("a log");
        let mut command = Command::new(program().expect("the program"));
        if let Some(address) = &self.address {
            command.args(["--advertise-address", address]);
        }
        let listens = match self.address {
            Some(_) => "0.0.0.0",
            None => "127.0.0.1",
        };
        let child = command
            .args(["--etcd-servers", &self.etcd.endpoints()])
            .args(["--secure-port", &self.port.to_string()])
            .args(["--bind-address", listens])
            .args(["--cert-dir", &at("certs")])
            .args(["--tls-cert-file", &at("server.pem")])
            .args(["--tls-private-key-file", &at("server.key")])
            .args(["--client-ca-file", &at("ca.pem")])
            .args(["--token-auth-file", &at("tokens.csv")])
            .args(["--service-account-issuer", "https://kubernetes.default.svc"])
            .args(["--service-account-key-file", &accounts])
            .args(["--service-account-signing-key-file", &accounts])
            .args(["--service-cluster-ip-range", "10.96.0.0/16"])
            .args(["--authorization-mode", "RBAC"])
            // Nobody makes the account that pods would get.
            .args(["--disable-admission-plugins", "ServiceAccount"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn();
        self.server = Some(child.expect("kube-apiserver starts"));
        let until = Instant::now() + STARTS_IN;
        while self
            .try_request("GET", "/readyz", None)
            .is_none_or(|answer| answer != "ok")
        {
            assert!(
                Instant::now() < until,
                "{}",
                fs::read_to_string(at("server.log")).unwrap_or_default()
            );
            thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Ends the server as kill -9 does, and starts it on what etcd has.
    pub fn restart(&mut self) {
        self.kill();
        self.spawn();
    }

    /// Ends the server as kill -9 does.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().expect("kill");
            server.wait().expect("its end");
        }
    }

    /// Starts a server that was killed.
    pub fn start_again(&mut self) {
        self.spawn();
    }

    /// The etcd behind it.
    pub fn etcd(&self) -> &Etcd {
        &self.etcd
    }

    /// Works on it alone, with nothing of Calico's in it.
    pub fn emptied(&self) -> std::sync::MutexGuard<'_, ()> {
        let guard = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        self.wipe();
        guard
    }

    /// The authority of its certificate.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// What a store is opened with.
    pub fn options(&self, group: Group) -> KubernetesOptions {
        KubernetesOptions {
            server: self.url(),
            ca: Some(Pem::File(self.file("ca.pem"))),
            insecure: false,
            server_name: None,
            login: Login {
                token: Some(Token::Inline(TOKEN.to_string().into())),
                ..Login::default()
            },
            group,
            origin: "the test".to_string(),
        }
    }

    /// A store of its own connection.
    pub fn store(&self, group: Group) -> KubernetesStore {
        KubernetesStore::open(self.options(group)).expect("a store")
    }

    /// A kubeconfig file for it.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_with("kubeconfig", TOKEN)
    }

    /// A kubeconfig file for it, of a user `selvedge` who may do nothing but what the ClusterRole `role` says.
    pub fn kubeconfig_for(&self, role: &Value) -> PathBuf {
        let path = "/apis/rbac.authorization.k8s.io/v1";
        self.post(&format!("{path}/clusterroles"), role);
        let subject =
            json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "selvedge"});
        let binding = json!({"metadata": {"name": "selvedge"}, "subjects": [subject],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role["metadata"]["name"]}});
        self.post(&format!("{path}/clusterrolebindings"), &binding);
        self.kubeconfig_with("selvedge.kubeconfig", USER_TOKEN)
    }

    fn kubeconfig_with(&self, name: &str, token: &str) -> PathBuf {
        let path = self.file(name);
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\ncontexts: [{{name: test, context: {{cluster: test, user: admin}}}}]\n\
             clusters: [{{name: test, cluster: {{server: \"https://{}:{}\", tls-server-name: localhost, certificate-authority: ca.pem}}}}]\n\
             users: [{{name: admin, user: {{token: {token}}}}}]\n",
            self.address.as_deref().unwrap_or("127.0.0.1"),
            self.port
        );
        fs::write(&path, text).expect("a file");
        path
    }

    /// A request, which must succeed; the answer.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let text = self.try_request(method, path, body).expect("an answer");
        let answer: Value =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}: {text}"));
        assert_ne!(answer["status"], "Failure", "{method} {path}: {answer}");
        answer
    }

    /// Creates an object.
    pub fn post(&self, path: &str, body: &Value) -> Value {
        self.request("POST", path, Some(body))
    }

    /// The text that a request is answered with.
    pub fn try_request(&self, method: &str, path: &str, body: Option<&Value>) -> Option<String> {
        let kind = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let mut command = Command::new("curl");
        command
            .args(["-s", "--max-time", "20", "-X", method])
            .arg("--cacert")
            .arg(self.file("ca.pem"))
            .args(["-H", &format!("Authorization: Bearer {TOKEN}")])
            .args(["-H", &format!("Content-Type: {kind}")]);
        if let Some(body) = body {
            let file = self.file("body.json");
            fs::write(&file, body.to_string()).expect("a file");
            command
                .arg("--data-binary")
                .arg(format!("@{}", file.display()));
        }
        let output = command
            .arg(format!("{}{path}", self.url()))
            .output()
            .expect("curl runs");
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn install(&self, definitions: &[Value]) {
        const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        for definition in definitions {
            self.post(PATH, definition);
        }
        let until = Instant::now() + STARTS_IN;
        for definition in definitions {
            let spec = &definition["spec"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
            let path = format!(
                "/apis/{}/{}/{}",
                text(&spec["group"]),
                text(&spec["versions"][0]["name"]),
                text(&spec["names"]["plural"])
            );
            let served = || {
                let answer = self.try_request("GET", &path, None).unwrap_or_default();
                answer.contains("\"items\"")
            };
            while !served() {
                assert!(Instant::now() < until, "{path} is not served");
                thread::park_timeout(Duration::from_millis(50));
            }
        }
    }

    /// Deletes all that tests wrote, but for pods, namespaces, nodes and accounts.
    pub fn wipe(&self) {
        for group in [Group::Crd, Group::Native] {
            let store = self.store(group);
            let listing = block_on(store.list(&KeyPrefix::All)).expect("a list");
            for entry in listing.entries {
                if is_the_servers(&entry.key) {
                    continue;
                }
                match block_on(store.delete(&entry.key, None)) {
                    // Two keys may be one object.
                    Ok(_) | Err(StoreError::NotFound(_) | StoreError::Unsupported { .. }) => (),
                    Err(error) => panic!("{}: {error}", entry.key),
                }
            }
        }
    }
}

/// Whether the API server makes it for itself.
fn is_the_servers(key: &Key) -> bool {
    match key {
        Key::Resource { kind, name, .. } => {
            matches!(kind, Kind::Service | Kind::EndpointSlice) && name == "kubernetes"
        }
        _ => false,
    }
}

/// Our own definitions, or those in the YAML files of the directory CALICO_CRDS, and what is missing there from ours.
fn definitions() -> Vec<Value> {
    let name = |definition: &Value| definition["metadata"]["name"].clone();
    let mut all = match std::env::var_os("CALICO_CRDS") {
        Some(directory) => in_files(Path::new(&directory)),
        None => Vec::new(),
    };
    for ours in [Group::Crd, Group::Native]
        .into_iter()
        .flat_map(kubernetes::definitions)
    {
        if !all.iter().any(|there| name(there) == name(&ours)) {
            all.push(ours);
        }
    }
    all
}

fn in_files(directory: &Path) -> Vec<Value> {
    let files = fs::read_dir(directory).expect("the directory CALICO_CRDS");
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a definition");
        serde_yaml_ng::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    paths.into_iter().map(read).collect()
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        self.kill();
    }
}
