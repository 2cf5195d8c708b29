//! Which API server a configuration names, and what is said where it names none.

use std::fs;
use std::path::Path;

use kubernetes::Group;
use store::{Config, ConfigError, Datastore, KubernetesOptions, KubernetesStore, Pem, Token};

mod symptoms;
use symptoms::explained;

const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
current-context: lab
contexts:
- {name: lab, context: {cluster: lab, user: admin, namespace: x}}
- {name: other, context: {cluster: far, user: script}}
clusters:
- {name: lab, cluster: {server: 'https://10.0.0.1:6443', certificate-authority: ca.pem, tls-server-name: lab.example}}
- {name: far, cluster: {server: 'https://far:6443', certificate-authority-data: LS0t, insecure-skip-tls-verify: true}}
users:
- {name: admin, user: {client-certificate: /c.pem, client-key: k.pem}}
- {name: script, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: ./token, args: [-x], env: [{name: A, value: b}]}}}
preferences: {}
";

fn read(variables: &[(&str, &str)]) -> Result<KubernetesOptions, String> {
    let config = Config::from_variables(|name| {
        let both = [("DATASTORE_TYPE", "kubernetes")];
        let (_, value) = variables.iter().chain(&both).find(|(n, _)| *n == name)?;
        Some((*value).to_string())
    });
    options(config)
}

fn options(config: Result<Config, ConfigError>) -> Result<KubernetesOptions, String> {
    match config.map_err(|e| explained(&e.to_string()))?.datastore {
        Datastore::Kubernetes(options) => Ok(options),
        other => panic!("{other:?}"),
    }
}

fn written(text: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config");
    fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    (directory, path)
}

#[test]
fn a_kubeconfig_names_the_server_and_the_user() {
    let (directory, path) = written(KUBECONFIG);
    let options = read(&[("KUBECONFIG", &path)]).unwrap();
    assert_eq!(options.server, "https://10.0.0.1:6443");
    // Relative paths begin at the file.
    assert_eq!(options.ca, Some(Pem::File(directory.path().join("ca.pem"))));
    assert_eq!(options.server_name.as_deref(), Some("lab.example"));
    assert_eq!(options.login.certificate, Some(Pem::File("/c.pem".into())));
    assert_eq!(
        options.login.key,
        Some(Pem::File(directory.path().join("k.pem")))
    );
    assert_eq!((options.insecure, options.group), (false, Group::Crd));

    let other = read(&[
        ("KUBECONFIG", &path),
        ("K8S_CURRENT_CONTEXT", "other"),
        ("CALICO_API_GROUP", "projectcalico.org/v3"),
    ])
    .unwrap();
    assert_eq!((other.insecure, other.group), (true, Group::Native));
    assert_eq!(other.ca, Some(Pem::Inline("---".to_string().into())));
    let Some(Token::Exec(exec)) = other.login.token else {
        panic!("{:?}", other.login)
    };
    assert_eq!(
        (exec.command.as_str(), exec.args),
        ("./token", vec!["-x".to_string()])
    );
}

#[test]
fn what_is_set_wins_over_the_kubeconfig() {
    let (_directory, path) = written(KUBECONFIG);
    let options = read(&[
        ("KUBECONFIG", &path),
        ("K8S_API_ENDPOINT", "https://10.0.0.2:6443"),
        ("CALICO_K8S_CA_FILE", "/other.pem"),
        ("K8S_INSECURE_SKIP_TLS_VERIFY", "true"),
    ])
    .unwrap();
    assert_eq!(options.server, "https://10.0.0.2:6443");
    assert_eq!(options.ca, Some(Pem::File("/other.pem".into())));
    assert!(options.insecure);
    // The first of two files has the word.
    let (_second, other) = written(&KUBECONFIG.replace("10.0.0.1", "10.0.0.9"));
    let both = read(&[("KUBECONFIG", &format!("{path}:/absent:{other}"))]).unwrap();
    assert_eq!(both.server, "https://10.0.0.1:6443");
}

#[test]
fn the_config_file_names_it_too() {
    let head = "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n  datastoreType: kubernetes\n";
    let read = |spec: &str| options(Config::parse(&format!("{head}{spec}"), "calicoctl.cfg"));
    let options = read("  k8sAPIEndpoint: https://a:6443\n  k8sAPIToken: secret\n  k8sCAFile: /ca\n  k8sClientQPS: 5\n").unwrap();
    assert_eq!(
        options.login.token,
        Some(Token::Inline("secret".to_string().into()))
    );
    assert_eq!(options.ca, Some(Pem::File("/ca".into())));
    let inline: String = KUBECONFIG
        .lines()
        .map(|line| format!("    {line}\n"))
        .collect();
    let options = read(&format!("  kubeconfigInline: |\n{inline}")).unwrap();
    assert_eq!(options.server, "https://10.0.0.1:6443");
}

#[test]
fn a_pod_has_its_service_account() {
    let pod = [
        ("KUBERNETES_SERVICE_HOST", "fd00::1"),
        ("KUBERNETES_SERVICE_PORT", "443"),
    ];
    let options = read(&pod).unwrap();
    assert_eq!(options.server, "https://[fd00::1]:443");
    let token = Path::new("/var/run/secrets/kubernetes.io/serviceaccount/token");
    assert_eq!(options.login.token, Some(Token::File(token.into())));
    // The user's own file counts outside a pod only.
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".kube")).unwrap();
    fs::write(home.path().join(".kube/config"), KUBECONFIG).unwrap();
    let home = home.path().display().to_string();
    assert_eq!(
        read(&[("HOME", &home)]).unwrap().server,
        "https://10.0.0.1:6443"
    );
    let [host, port] = pod;
    assert_eq!(
        read(&[("HOME", &home), host, port]).unwrap().server,
        options.server
    );
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let (_directory, path) = written(KUBECONFIG);
    let said = |variables: &[(&str, &str)]| read(variables).unwrap_err();
    assert_eq!(
        said(&[]),
        "no Kubernetes API server is named (environment, DATASTORE_TYPE): set KUBECONFIG (kubeconfig) to a kubeconfig file, or K8S_API_ENDPOINT (k8sAPIEndpoint)"
    );
    assert_eq!(
        said(&[("KUBECONFIG", "/absent")]),
        "kubeconfig /absent: there is no such file: set KUBECONFIG (kubeconfig) to one"
    );
    assert_eq!(
        said(&[("KUBECONFIG", &path), ("K8S_CURRENT_CONTEXT", "lib")]),
        format!("kubeconfig {path}: there is no context 'lib' in it (there is: lab, other)")
    );
    assert_eq!(
        said(&[
            ("K8S_API_ENDPOINT", "https://a"),
            ("CALICO_API_GROUP", "v3")
        ]),
        "the API group 'v3' (environment, DATASTORE_TYPE, CALICO_API_GROUP or calicoAPIGroup) is not known: expected crd.projectcalico.org/v1 or projectcalico.org/v3"
    );
    let (_broken, broken) = written("clusters: {");
    assert!(
        said(&[("KUBECONFIG", &broken)])
            .starts_with(&format!("kubeconfig {broken}: it is no kubeconfig: "))
    );
    let (_no_context, text) = written(&KUBECONFIG.replace("current-context: lab", ""));
    assert_eq!(
        said(&[("KUBECONFIG", &text)]),
        format!(
            "kubeconfig {text}: it has no current-context: name one there, or with K8S_CURRENT_CONTEXT or --context"
        )
    );
    let opened = |server: &str| {
        let options = read(&[("K8S_API_ENDPOINT", server)]).unwrap();
        explained(&KubernetesStore::open(options).unwrap_err().to_string())
    };
    for server in ["10.0.0.1:6443", "ftp://a", "https://"] {
        assert_eq!(
            opened(server),
            format!(
                "the Kubernetes API server '{server}' (environment, DATASTORE_TYPE) is no URL: write it like https://10.0.0.1:6443"
            )
        );
    }
    let options = read(&[
        ("K8S_API_ENDPOINT", "https://a"),
        ("K8S_CA_FILE", "/absent"),
    ])
    .unwrap();
    assert_eq!(
        explained(&KubernetesStore::open(options).unwrap_err().to_string()),
        "Kubernetes: cannot use the authorities' certificates (K8S_CA_FILE) in /absent: No such file or directory (os error 2)"
    );
}
