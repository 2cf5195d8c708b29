//! What people call the kinds.

use resource::Kind;

/// A word for a kind on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A kind that is here.
    Ours(Kind),
    /// A kind that calicoctl has and that is not here yet; its name.
    Absent(&'static str),
}

/// The kind that a word stands for, in any case and number; calicoctl's aliases, and kubectl's for Services.
pub fn kind(word: &str) -> Option<Named> {
    let kind = match word.to_lowercase().as_str() {
        "bgpconfiguration" | "bgpconfigurations" | "bgpconfig" | "bgpconfigs" => {
            Kind::BgpConfiguration
        }
        "bgpfilter" | "bgpfilters" | "bgpf" | "bgpfs" | "bf" | "bfs" => Kind::BgpFilter,
        "bgppeer" | "bgppeers" | "bgpp" | "bgpps" | "bp" | "bps" => Kind::BgpPeer,
        "clusterinformation" | "clusterinformations" | "clusterinfo" | "clusterinfos" => {
            Kind::ClusterInformation
        }
        "ippool" | "ippools" | "ipp" | "ipps" | "pool" | "pools" => Kind::IpPool,
        "node" | "nodes" | "no" | "nos" => Kind::Node,
        "workloadendpoint" | "workloadendpoints" | "wep" | "weps" => Kind::WorkloadEndpoint,
        "peerpolicy" | "peerpolicies" => Kind::PeerPolicy,
        "service" | "services" | "svc" => Kind::Service,
        "endpointslice" | "endpointslices" => Kind::EndpointSlice,
        other => return absent(other).map(Named::Absent),
    };
    Some(Named::Ours(kind))
}

/// The name of a kind that a mistyped word is nearest to: at most two letters more, less or other.
pub fn nearest(word: &str) -> Option<&'static str> {
    let word = word.to_lowercase();
    let singular = word.strip_suffix('s').unwrap_or(&word);
    let distances = Kind::ALL.iter().map(|kind| {
        let plural = kind.plural();
        let name = plural.strip_suffix('s').unwrap_or(plural);
        (distance(singular, name), plural)
    });
    distances
        .filter(|(distance, _)| *distance <= 2 && singular.len() > 3)
        .min()
        .map(|(_, plural)| plural)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// calicoctl's other kinds (calico-compat §5.2), by any of their words.
fn absent(word: &str) -> Option<&'static str> {
    Some(match word {
        "felixconfiguration" | "felixconfigurations" | "felixconfig" | "felixconfigs" => {
            "FelixConfiguration"
        }
        "globalnetworkpolicy" | "globalnetworkpolicies" | "gnp" | "gnps" => "GlobalNetworkPolicy",
        "globalnetworkset" | "globalnetworksets" | "gnetsets" => "GlobalNetworkSet",
        "hostendpoint" | "hostendpoints" | "hep" | "heps" => "HostEndpoint",
        "ipreservation" | "ipreservations" | "reservation" | "reservations" => "IPReservation",
        "kubecontrollersconfiguration"
        | "kubecontrollersconfigurations"
        | "kubecontrollersconfig"
        | "kubecontrollersconfigs" => "KubeControllersConfiguration",
        "networkpolicy" | "networkpolicies" | "policy" | "np" | "policies" | "pol" | "pols" => {
            "NetworkPolicy"
        }
        "networkset" | "networksets" | "netsets" => "NetworkSet",
        "profile" | "profiles" | "pro" | "pros" => "Profile",
        "tier" | "tiers" => "Tier",
        "stagedglobalnetworkpolicy" | "stagedglobalnetworkpolicies" | "sgnp" | "sgnps" => {
            "StagedGlobalNetworkPolicy"
        }
        "stagednetworkpolicy"
        | "stagednetworkpolicies"
        | "stagedpolicy"
        | "stagedpolicies"
        | "snp"
        | "snps"
        | "spol"
        | "spols" => "StagedNetworkPolicy",
        "stagedkubernetesnetworkpolicy"
        | "stagedkubernetesnetworkpolicies"
        | "stagedkubernetespolicy"
        | "stagedkubernetespolicies"
        | "sknp"
        | "sknps"
        | "skpol"
        | "skpols" => "StagedKubernetesNetworkPolicy",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_name_and_its_plural() {
        for ours in Kind::ALL {
            assert_eq!(kind(ours.as_str()), Some(Named::Ours(*ours)));
            assert_eq!(kind(ours.plural()), Some(Named::Ours(*ours)));
        }
    }

    #[test]
    fn words_that_are_no_kind() {
        assert_eq!(kind("ipPool"), Some(Named::Ours(Kind::IpPool)));
        assert_eq!(kind("tiers"), Some(Named::Absent("Tier")));
        assert_eq!(kind("bogus"), None);
        assert_eq!(kind("ipamconfiguration"), None);
        assert_eq!(nearest("ipool"), Some("ippools"));
        assert_eq!(nearest("Nodez"), Some("nodes"));
        assert_eq!(nearest("workloadendpont"), Some("workloadendpoints"));
        assert_eq!(nearest("bogus"), None);
        assert_eq!(nearest("nod"), None);
    }
}
