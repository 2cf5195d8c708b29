//! Rules on single values, by the names that Calico's validator gives them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::FieldError;
use crate::Selector;

const SELECTOR_MAX: usize = 4096;

/// Collects what is wrong. An empty value passes each rule but `required`.
#[derive(Default)]
pub(super) struct Checks {
    pub(super) fields: Vec<FieldError>,
}

impl Checks {
    pub(super) fn tag(&mut self, field: &str, value: &str, tag: &str, holds: fn(&str) -> bool) {
        if !value.is_empty() && !holds(value) {
            self.fields.push(FieldError::tag(field, value, tag));
        }
    }

    pub(super) fn required(&mut self, field: &str, value: &str) {
        if value.is_empty() {
            self.fields.push(FieldError::tag(field, "", "required"));
        }
    }

    pub(super) fn selector(&mut self, field: &str, path: &str, value: &str) {
        self.tag(field, value, "selector", |v| Selector::parse(v).is_ok());
        if value.len() > SELECTOR_MAX {
            self.fields.push(FieldError::without_value(
                path,
                format!("{path} in body should be at most {SELECTOR_MAX} chars long"),
            ));
        }
    }

    /// A value that is one of some, as a rule of the CRD's schema.
    pub(super) fn supported(&mut self, path: &str, value: Option<&str>, values: &[&str]) {
        if let Some(value) = value
            && !values.contains(&value)
        {
            self.fields.push(unsupported(path, values));
        }
    }

    /// A rule of the CRD's schema between fields.
    pub(super) fn spec(&mut self, wrong: bool, reason: &str) {
        if wrong {
            self.fields.push(FieldError::without_value("spec", reason));
        }
    }

    /// A rule of the validator between fields.
    pub(super) fn rule(
        &mut self,
        wrong: bool,
        field: &str,
        value: impl Into<String>,
        reason: &str,
    ) {
        if wrong {
            self.fields.push(FieldError::new(field, value, reason));
        }
    }
}

pub(super) fn unsupported(path: &str, values: &[&str]) -> FieldError {
    let values: Vec<String> = values.iter().map(|v| format!("{v:?}")).collect();
    FieldError::without_value(path, format!("supported values: {}", values.join(", ")))
}

/// A network whose host bits are zero, or a bare address.
pub(super) fn is_net(text: &str) -> bool {
    match text.parse::<IpNet>() {
        Ok(net) => net == net.trunc(),
        Err(_) => text.parse::<IpAddr>().is_ok(),
    }
}

/// A network or address, host bits allowed.
pub(super) fn is_cidr(text: &str) -> bool {
    text.parse::<IpNet>().is_ok() || text.parse::<IpAddr>().is_ok()
}

pub(super) fn is_cidr_v4(text: &str) -> bool {
    text.parse::<Ipv4Net>().is_ok() || is_ipv4(text)
}

pub(super) fn is_cidr_v6(text: &str) -> bool {
    text.parse::<Ipv6Net>().is_ok() || is_ipv6(text)
}

pub(super) fn is_ipv4(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok()
}

pub(super) fn is_ipv6(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok()
}

pub(super) fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// `IP`, `v4:port` or `[v6]:port`, ports from 1.
pub(super) fn is_ip_port(text: &str) -> bool {
    peer_address(text).is_some()
}

/// The address of `IP`, `v4:port` or `[v6]:port`.
pub(super) fn peer_address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let address: std::net::SocketAddr = text.parse().ok()?;
    (address.port() > 0).then(|| address.ip())
}

/// A DNS-1123 subdomain without regard to its length.
pub(super) fn is_name(text: &str) -> bool {
    text.split('.').all(|label| {
        let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        label.starts_with(alphanumeric)
            && label.ends_with(alphanumeric)
            && label.chars().all(|c| alphanumeric(c) || c == '-')
    })
}

pub(super) fn is_mac(text: &str) -> bool {
    let octets: Vec<&str> = text.split([':', '-']).collect();
    octets.len() == 6
        && octets
            .iter()
            .all(|o| o.len() == 2 && o.chars().all(|c| c.is_ascii_hexdigit()))
}

/// A Linux interface's name as Calico takes it.
pub(super) fn is_interface(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}
