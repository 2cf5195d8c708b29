//! IPReservation (calico-compat §1.6).

use serde::{Deserialize, Serialize};

use crate::validate::FieldError;
use crate::validate::checks::{Checks, go_list, is_cidr};
use crate::{Kind, NoStatus, Object, Spec};

/// Addresses that are not given out by themselves.
pub type IpReservation = Object<IpReservationSpec>;

/// Which addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IpReservationSpec {
    /// Ranges; a bare address is read as one of itself, though calicoctl refuses to write it.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        rename = "reservedCIDRs"
    )]
    pub reserved_cidrs: Vec<String>,
}

impl Spec for IpReservationSpec {
    const KIND: Kind = Kind::IpReservation;
    type Status = NoStatus;

    fn validate(object: &IpReservation) -> Vec<FieldError> {
        let cidrs = &object.spec.reserved_cidrs;
        let mut checks = Checks::default();
        if !cidrs.iter().all(|c| is_cidr(c)) {
            checks
                .fields
                .push(FieldError::tag("ReservedCIDRs", go_list(cidrs), "cidrs"));
        }
        checks.fields
    }
}
