//! The two API groups in which Calico keeps its custom resources.

use std::fmt;

/// An API group; a cluster uses one of them (`CALICO_API_GROUP`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Group {
    /// `crd.projectcalico.org/v1`: Calico's metadata is in an annotation (calico-compat §3.1). Clusters before 3.32 have only this.
    #[default]
    Crd,
    /// `projectcalico.org/v3`: the objects as people write them, new in 3.32.
    Native,
}

impl Group {
    /// As `CALICO_API_GROUP` has it.
    pub fn parse(text: &str) -> Option<Group> {
        [Group::Crd, Group::Native]
            .into_iter()
            .find(|group| group.api_version() == text)
    }

    /// Group and version.
    pub fn api_version(self) -> &'static str {
        match self {
            Group::Crd => "crd.projectcalico.org/v1",
            Group::Native => "projectcalico.org/v3",
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.api_version())
    }
}
