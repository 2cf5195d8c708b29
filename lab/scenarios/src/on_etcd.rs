//! A scenario whose nodes share an etcd instead of a file.

use toml::Spanned;

use crate::model::{Daemon, Scenario, Seconds};

/// The folder of the file that nodes share.
const SHARED: &str = "/var/lib/selvedge";
const CONFIG: &str = "/etc/calico/calicoctl.cfg";
const CONFLIST: &str = "/etc/cni/net.d/10-calico.conflist";

impl Scenario {
    /// The same scenario with an etcd on the first of the hosts that share the SQLite file: it is started before all other
    /// daemons, and their programs and CNI plugins are told of it. The text of an error says why there can be none.
    ///
    /// # Errors
    /// No host shares a file.
    pub fn on_etcd(mut self) -> Result<Self, String> {
        let shares = |name: &Spanned<String>| {
            let profile = self.profiles.get(name.get_ref());
            profile.is_some_and(|profile| profile.shared.iter().any(|dir| dir == SHARED))
        };
        let first = self
            .hosts
            .iter()
            .find(|host| host.profile.iter().any(shares));
        let first = first.and_then(|host| Some((host.name.clone(), host.nics.first()?.address)));
        let Some((host, address)) = first else {
            return Err(format!(
                "no host of this scenario shares {SHARED}: it has no datastore that etcd could take the place of"
            ));
        };
        let url = format!("http://{}:2379", address.addr());
        for profile in self.profiles.values_mut() {
            let shared = profile.shared.len();
            profile.shared.retain(|dir| dir != SHARED);
            if profile.shared.len() == shared {
                continue;
            }
            let config = format!(
                "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nspec:\n  datastoreType: etcdv3\n  etcdEndpoints: {url}\n"
            );
            profile.files.insert(CONFIG.to_owned(), config);
            if let Some(conflist) = profile.files.get_mut(CONFLIST) {
                let plugin = "\"type\": \"calico\",";
                let told = format!("{plugin}\n      \"etcd_endpoints\": \"{url}\",");
                *conflist = conflist.replacen(plugin, &told, 1);
            }
        }
        self.daemons.insert(0, etcd(host, &url));
        Ok(self)
    }
}

fn etcd(host: Spanned<String>, url: &str) -> Daemon {
    let peer = "http://127.0.0.1:2380";
    Daemon {
        name: Spanned::new(0..0, "etcd".to_owned()),
        on: vec![host],
        run: format!(
            "etcd --name lab --data-dir {SHARED}/etcd --listen-client-urls {url} --advertise-client-urls {url} \
             --listen-peer-urls {peer} --initial-advertise-peer-urls {peer} --initial-cluster lab={peer}"
        ),
        ready: Some(format!("etcdctl --endpoints={url} endpoint health")),
        within: Seconds::new(30.0),
        autostart: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etcd_takes_the_place_of_the_file() {
        let (_, scenario) = crate::load("howto").expect("good");
        let before = scenario.daemons.len();
        let moved = scenario.on_etcd().expect("it has nodes");
        assert_eq!(moved.daemons.len(), before + 1);
        assert_eq!(moved.daemons[0].on[0].get_ref(), "ip-10-20-1-81");
        let node = &moved.profiles["node"];
        assert!(node.shared.is_empty());
        assert!(node.files[CONFIG].contains("etcdEndpoints: http://10.20.1.81:2379\n"));
        assert!(node.files[CONFLIST].contains("\"etcd_endpoints\": \"http://10.20.1.81:2379\","));
        let (_, scenario) = crate::load("howto-bird").expect("good");
        let refused = scenario.on_etcd().expect_err("it has no datastore");
        assert!(refused.contains("shares /var/lib/selvedge"), "{refused}");
    }
}
