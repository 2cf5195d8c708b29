//! Profiles as a real calicoctl showed them.

use kubernetes::profile::{namespace_labels, of_namespace, of_service_account, revision_text};
use resource::kinds::Profile;
use resource::{Key, Kind};
use serde_json::{Value, json};

/// Captured: `calicoctl get profile kns.default -o yaml`, but for the resourceVersion.
const PROFILE: &str = r#"
apiVersion: projectcalico.org/v3
kind: Profile
metadata:
  creationTimestamp: "2026-11-22T22:50:18Z"
  name: kns.default
  uid: 3059e257-a3d0-49b9-9d79-ef26f621f379
spec:
  egress:
  - action: Allow
  ingress:
  - action: Allow
  labelsToApply:
    pcns.kubernetes.io/metadata.name: default
    pcns.projectcalico.org/name: default
"#;

#[test]
fn the_captured_profile_of_a_namespace() {
    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "creationTimestamp": "2026-11-22T22:50:18Z",
            "labels": {"kubernetes.io/metadata.name": "default"},
            "name": "default",
            "resourceVersion": "14",
            "uid": "3059e257-a3d0-49b9-9d79-ef26f621f379",
        },
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    });
    let (key, document) = of_namespace(&namespace).expect("a namespace");
    assert_eq!(key, Key::cluster(Kind::Profile, "kns.default"));
    let expected: Value = serde_yaml_ng::from_str(PROFILE).expect("captured YAML");
    assert_eq!(
        serde_json::from_str::<Value>(&document).expect("JSON"),
        expected
    );
    assert_eq!(revision_text("kns.default", 14), "14/");
    let labels = namespace_labels(&Profile::from_json(&document).expect("a profile"));
    assert_eq!(labels["kubernetes.io/metadata.name"], "default");
}

/// Captured: the labels in `calicoctl get profile -o wide`.
#[test]
fn the_captured_profile_of_a_service_account() {
    let mut account = json!({"metadata": {"name": "app", "namespace": "default"}});
    let (key, document) = of_service_account(&account).expect("an account");
    assert_eq!(key, Key::cluster(Kind::Profile, "ksa.default.app"));
    assert_eq!(
        document,
        r#"{"kind":"Profile","apiVersion":"projectcalico.org/v3","metadata":{"name":"ksa.default.app"},"spec":{"labelsToApply":{"pcsa.projectcalico.org/name":"app"}}}"#
    );
    account["metadata"]["labels"] = json!({"role": "web", "projectcalico.org/name": "not so"});
    let (_, document) = of_service_account(&account).expect("an account");
    let labels = r#""labelsToApply":{"pcsa.projectcalico.org/name":"app","pcsa.role":"web"}"#;
    assert!(document.contains(labels), "{document}");
    assert_eq!(revision_text("ksa.default.app", 20), "/20");
    assert_eq!(revision_text("projectcalico-default-allow", 1), "1");
}

#[test]
fn what_has_no_name_is_refused() {
    assert_eq!(of_namespace(&json!({})), Err("it has no name".to_string()));
    let account = json!({"metadata": {"name": "app"}});
    assert_eq!(
        of_service_account(&account),
        Err("it has no namespace".to_string())
    );
}
