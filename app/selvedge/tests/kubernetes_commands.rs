//! Commands around a real kube-apiserver: the definitions it needs, and the context by which it is reached.

use std::fs;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use store::testing::{Kubernetes, kubernetes_skipped};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Runs a command as a user who may do no more than the role says.
fn selvedge(kubernetes: &Kubernetes, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_selvedge"))
        .args(words)
        .env("DATASTORE_TYPE", "kubernetes")
        .env("KUBECONFIG", kubernetes.file("selvedge.kubeconfig"))
        .env_remove("ETCD_ENDPOINTS")
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let texts = [&output.stdout, &output.stderr];
    texts.map(|t| String::from_utf8_lossy(t)).concat()
}

fn wait_for(what: &str, there: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !there() {
        assert!(Instant::now() < end, "{what}");
        thread::park_timeout(Duration::from_millis(50));
    }
}

#[test]
fn a_server_takes_the_definitions_that_are_printed() {
    if kubernetes_skipped() {
        return;
    }
    let kubernetes = Kubernetes::start();
    let role = include_str!("../../../examples/kubernetes/clusterrole.yaml");
    kubernetes.kubeconfig_for(&serde_yaml_ng::from_str(role).unwrap());
    let printed = selvedge(&kubernetes, &["datastore", "crds"]);
    let text = said(&printed);
    assert!(printed.status.success(), "{text}");
    let definitions: Vec<Value> = text
        .split("---\n")
        .filter(|document| !document.is_empty())
        .map(|document| serde_yaml_ng::from_str(document).unwrap())
        .collect();
    for name in [
        "ippools.crd.projectcalico.org",
        "peerpolicies.selvedge.dev",
        "nodesessions.selvedge.dev",
    ] {
        let has = definitions.iter().any(|d| d["metadata"]["name"] == name);
        assert!(has, "{name}");
    }
    let path = |d: &Value| {
        format!(
            "{DEFINITIONS}/{}",
            d["metadata"]["name"].as_str().expect("a name")
        )
    };
    for definition in &definitions {
        kubernetes.request("DELETE", &path(definition), None);
    }
    for definition in &definitions {
        let gone = || {
            let answer = kubernetes.try_request("GET", &path(definition), None);
            answer.is_some_and(|a| a.contains("\"NotFound\""))
        };
        wait_for("an end of the old definitions", gone);
    }
    for definition in &definitions {
        kubernetes.post(DEFINITIONS, definition);
    }
    let file = kubernetes.file("pool.yaml");
    fs::write(
        &file,
        "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p}\nspec: {cidr: 10.9.0.0/24}\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let applied = || {
        let output = selvedge(&kubernetes, &["apply", "-f", file]);
        output.status.success()
    };
    wait_for("a pool", applied);
    let got = said(&selvedge(&kubernetes, &["get", "ippools"]));
    assert!(got.contains("10.9.0.0/24"), "{got}");

    let wrong = selvedge(&kubernetes, &["datastore", "crds", "--api-group=x"]);
    assert_eq!(
        (
            said(&wrong).contains("'x' is not known"),
            wrong.status.code()
        ),
        (true, Some(1))
    );
    contexts(&kubernetes);

    // The control: without the role the user may not even look.
    let binding = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/selvedge";
    kubernetes.request("DELETE", binding, None);
    let refused = || {
        let output = selvedge(&kubernetes, &["get", "ippools"]);
        !output.status.success() && said(&output).contains("RBAC")
    };
    wait_for("a refusal", refused);
}

/// `--context`, before the command or after it, wins over the environment, and the later over the earlier.
fn contexts(kubernetes: &Kubernetes) {
    let get = |words: &[&str]| {
        let output = selvedge(kubernetes, words);
        (output.status.success(), said(&output))
    };
    for words in [
        vec!["get", "ippools", "--context=test"],
        vec!["--context=test", "get", "ippools"],
        vec!["--context=other", "get", "ippools", "--context=test"],
    ] {
        let (good, text) = get(&words);
        assert!(good, "{words:?}: {text}");
    }
    for words in [
        vec!["get", "ippools", "--context=other"],
        vec!["--context=other", "get", "ippools"],
    ] {
        let (good, text) = get(&words);
        assert!(!good && text.contains("other"), "{words:?}: {text}");
    }
}
