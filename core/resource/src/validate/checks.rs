//! Rules on single values, by the names that Calico's validator gives them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::FieldError;
use crate::Selector;

const SELECTOR_MAX: usize = 4096;
pub(crate) const ROUTE_PRIORITY_MAX: u32 = 2_147_483_646;
pub(crate) const COMMUNITY_PATTERN: &str = r"^(\d+):(\d+)$|^(\d+):(\d+):(\d+)$";

/// Collects what is wrong. An empty value passes each rule but `required`.
#[derive(Default)]
pub(crate) struct Checks {
    pub(crate) fields: Vec<FieldError>,
}

impl Checks {
    pub(crate) fn tag(&mut self, field: &str, value: &str, tag: &str, holds: fn(&str) -> bool) {
        if !value.is_empty() && !holds(value) {
            self.fields.push(FieldError::tag(field, value, tag));
        }
    }

    /// A rule on one item of a list.
    pub(crate) fn item(
        &mut self,
        field: &str,
        index: usize,
        value: &str,
        tag: &str,
        holds: fn(&str) -> bool,
    ) {
        if !holds(value) {
            let field = format!("{field}[{index}]");
            self.fields.push(FieldError::tag(&field, value, tag));
        }
    }

    /// A selector whose length has no bound.
    pub(crate) fn selector_tag(&mut self, field: &str, value: &str) {
        self.tag(field, value, "selector", |v| Selector::parse(v).is_ok());
    }

    pub(crate) fn required(&mut self, field: &str, value: &str) {
        if value.is_empty() {
            self.fields.push(FieldError::tag(field, "", "required"));
        }
    }

    pub(crate) fn selector(&mut self, field: &str, path: &str, value: &str) {
        self.selector_tag(field, value);
        if value.len() > SELECTOR_MAX {
            self.fields.push(FieldError::without_value(
                path,
                format!("{path} in body should be at most {SELECTOR_MAX} chars long"),
            ));
        }
    }

    /// A value that is one of some, as a rule of the CRD's schema.
    pub(crate) fn supported(&mut self, path: &str, value: Option<&str>, values: &[&str]) {
        if let Some(value) = value
            && !values.contains(&value)
        {
            self.fields.push(unsupported(path, values));
        }
    }

    /// A CIDR, as a rule of the CRD's schema: a bare address is none.
    pub(crate) fn schema_cidr(&mut self, path: &str, cidr: &str) {
        if !cidr.is_empty() && cidr.parse::<IpNet>().is_err() {
            let reason = format!("{path} in body must be of type cidr: {cidr:?}");
            self.fields.push(FieldError::without_value(path, reason));
        }
    }

    /// A bound of the CRD's schema.
    pub(crate) fn bounds(&mut self, path: &str, number: Option<i64>, least: i64, most: i64) {
        let bound = match number {
            Some(number) if number < least => format!("greater than or equal to {least}"),
            Some(number) if number > most => format!("less than or equal to {most}"),
            Some(_) | None => return,
        };
        self.schema(true, path, &format!("{path} in body should be {bound}"));
    }

    /// The greatest length of a text in the CRD's schema.
    pub(crate) fn max_length(&mut self, path: &str, text: &str, most: usize) {
        let reason = format!("{path} in body should be at most {most} chars long");
        self.schema(text.chars().count() > most, path, &reason);
    }

    /// The greatest length of a list in the CRD's schema.
    pub(crate) fn max_items(&mut self, path: &str, count: usize, most: usize) {
        let reason = format!("{path} in body should have at most {most} items");
        self.schema(count > most, path, &reason);
    }

    /// A rule of the CRD's schema on one field.
    pub(crate) fn schema(&mut self, wrong: bool, path: &str, reason: &str) {
        if wrong {
            self.fields.push(FieldError::without_value(path, reason));
        }
    }

    /// A rule of the CRD's schema between fields.
    pub(crate) fn spec(&mut self, wrong: bool, reason: &str) {
        if wrong {
            self.fields.push(FieldError::without_value("spec", reason));
        }
    }

    /// A rule of the validator between fields.
    pub(crate) fn rule(
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

pub(crate) fn unsupported(path: &str, values: &[&str]) -> FieldError {
    let values: Vec<String> = values.iter().map(|v| format!("{v:?}")).collect();
    FieldError::without_value(path, format!("supported values: {}", values.join(", ")))
}

/// A network whose host bits are zero, or a bare address.
pub(crate) fn is_net(text: &str) -> bool {
    match text.parse::<IpNet>() {
        Ok(net) => net == net.trunc(),
        Err(_) => text.parse::<IpAddr>().is_ok(),
    }
}

/// A network or address, host bits allowed.
pub(crate) fn is_cidr(text: &str) -> bool {
    text.parse::<IpNet>().is_ok() || text.parse::<IpAddr>().is_ok()
}

pub(crate) fn is_cidr_v4(text: &str) -> bool {
    text.parse::<Ipv4Net>().is_ok() || is_ipv4(text)
}

pub(crate) fn is_cidr_v6(text: &str) -> bool {
    text.parse::<Ipv6Net>().is_ok() || is_ipv6(text)
}

pub(crate) fn is_ipv4(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok()
}

pub(crate) fn is_ipv6(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok()
}

pub(crate) fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// `IP`, `v4:port` or `[v6]:port`, ports from 1.
pub(crate) fn is_ip_port(text: &str) -> bool {
    peer_address(text).is_some()
}

/// The address of `IP`, `v4:port` or `[v6]:port`.
pub(crate) fn peer_address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let address: std::net::SocketAddr = text.parse().ok()?;
    (address.port() > 0).then(|| address.ip())
}

/// A DNS-1123 subdomain without regard to its length.
pub(crate) fn is_name(text: &str) -> bool {
    text.split('.').all(|label| {
        let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        label.starts_with(alphanumeric)
            && label.ends_with(alphanumeric)
            && label.chars().all(|c| alphanumeric(c) || c == '-')
    })
}

/// What a name of one label must be.
pub(crate) const LABEL: &str = "name must consist of lower case alphanumeric characters or '-' (regex: [a-z0-9]([-a-z0-9]*[a-z0-9])?)";

/// A DNS-1123 label without regard to its length.
pub(crate) fn is_label(text: &str) -> bool {
    is_name(text) && !text.contains('.')
}

/// A list as Go prints it.
pub(crate) fn go_list<T: std::fmt::Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    format!("[{}]", items.join(" "))
}

/// A severity, written so.
pub(crate) fn is_log_level(text: &str) -> bool {
    ["Trace", "Debug", "Info", "Warning", "Error", "Fatal"].contains(&text)
}

/// A name of a port as Kubernetes takes it: at most 15 of `[a-z0-9-]`, a letter among them, no two hyphens in a row.
pub(crate) fn is_port_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=15).contains(&text.len())
        && text.bytes().all(fits)
        && text.bytes().any(|b| b.is_ascii_lowercase())
        && !text.contains("--")
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Six octets in hexadecimal.
pub fn is_mac(text: &str) -> bool {
    let octets: Vec<&str> = text.split([':', '-']).collect();
    octets.len() == 6
        && octets
            .iter()
            .all(|o| o.len() == 2 && o.chars().all(|c| c.is_ascii_hexdigit()))
}

/// A Linux interface's name as Calico takes it.
pub(crate) fn is_interface(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// `aa:nn` of 16 bits each, or `aa:nn:mm` of 32.
pub(crate) fn is_community(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.len() {
        2 => parts.iter().all(|p| p.parse::<u16>().is_ok()),
        3 => parts.iter().all(|p| p.parse::<u32>().is_ok()),
        _ => false,
    }
}
