//! Profile (calico-compat §1.13).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::rule::{self, Rule};
use crate::validate::FieldError;
use crate::validate::checks::Checks;
use crate::validate::labels;
use crate::{Key, Kind, Metadata, NoStatus, Object, Spec, Verb};

/// What holds for endpoints that name it, where no policy is about them.
pub type Profile = Object<ProfileSpec>;

/// Rules, and labels for the endpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProfileSpec {
    /// Rules for what comes in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<Rule>,
    /// Rules for what goes out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<Rule>,
    /// Labels that the endpoints get.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels_to_apply: BTreeMap<String, String>,
}

/// The profile that is always there and never stored.
const DEFAULT_ALLOW: &str = "projectcalico-default-allow";

/// The profile that lets everything through; it is in no store, and nobody changes it.
pub fn default_allow_profile() -> Profile {
    let allow = vec![Rule {
        action: "Allow".to_string(),
        ..Rule::default()
    }];
    let metadata = Metadata {
        resource_version: Some("1".to_string()),
        ..Metadata::named(DEFAULT_ALLOW)
    };
    let spec = ProfileSpec {
        ingress: allow.clone(),
        egress: allow,
        labels_to_apply: BTreeMap::new(),
    };
    Profile::new(metadata, spec)
}

impl Spec for ProfileSpec {
    const KIND: Kind = Kind::Profile;
    type Status = NoStatus;

    fn built_in() -> Vec<Profile> {
        vec![default_allow_profile()]
    }

    fn validate(profile: &Profile) -> Vec<FieldError> {
        let spec = &profile.spec;
        let mut checks = Checks::default();
        rule::validate(&spec.ingress, &mut checks);
        rule::validate(&spec.egress, &mut checks);
        if !labels(&spec.labels_to_apply).is_empty() {
            let pairs: Vec<String> = spec
                .labels_to_apply
                .iter()
                .map(|(k, v)| format!("{k}:{v}"))
                .collect();
            let shown = format!("map[{}]", pairs.join(" "));
            checks
                .fields
                .push(FieldError::tag("LabelsToApply", shown, "labels"));
        }
        checks.fields
    }

    fn refuse(profile: &Profile, verb: Verb) -> Option<String> {
        if profile.metadata.name != DEFAULT_ALLOW {
            return None;
        }
        match verb {
            Verb::Create => Some(format!(
                "resource already exists: {DEFAULT_ALLOW} with error: {DEFAULT_ALLOW} already exists. The profile \"{DEFAULT_ALLOW}\" is default provided by Calico"
            )),
            Verb::Replace => Some(format!(
                "operation Update is not supported on {DEFAULT_ALLOW}: The profile \"{DEFAULT_ALLOW}\" is a default provided by Calico and cannot be updated"
            )),
            // Calico creates first, then updates what is there.
            Verb::Apply => ProfileSpec::refuse(profile, Verb::Replace),
        }
    }

    fn refuse_delete(key: &Key) -> Option<String> {
        (*key == Key::cluster(Kind::Profile, DEFAULT_ALLOW)).then(|| {
            format!(
                "operation Delete is not supported on {DEFAULT_ALLOW}: The profile \"{DEFAULT_ALLOW}\" is a default provided by Calico and cannot be deleted"
            )
        })
    }
}
