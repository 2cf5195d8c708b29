//! What an object must be before it is written (calico-compat §1, §5.4).
//!
//! calicoctl checks in two places, with different words. [`validate`] is the checks on one object alone (`calicoctl validate`).
//! [`check`] is the library's, which also knows what is stored; it comes first on create and update. What is particular to a
//! kind stands beside its spec, as methods of [`Spec`](crate::Spec).

pub(crate) mod checks;
mod error;
mod metadata;

pub(crate) use metadata::labels;

pub use checks::is_mac;
pub use error::{FieldError, ValidationError};

use serde_json::Value;

use crate::spec::Others;
use crate::{AnyObject, Kind, KindVisitor, Object, Spec};

/// Checks one object alone.
///
/// # Errors
/// All fields that are wrong, in calicoctl's words.
pub fn validate(object: &AnyObject) -> Result<(), ValidationError> {
    let mut fields = metadata::validate(object.kind(), object.metadata());
    fields.extend(object.validate());
    ValidationError::of(fields)
}

/// What a resource is refused for before there is a store: the validator's rules alone. Those of the CustomResourceDefinition, which have
/// no value or stand for the whole resource, are checked on writing.
///
/// # Errors
/// All fields that are wrong, in calicoctl's words.
pub fn validate_alone(object: &AnyObject) -> Result<(), ValidationError> {
    let kind = object.kind().as_str();
    let of_schema = |field: &FieldError| {
        let whole = field.name == "spec" || field.name == kind;
        field.value.is_none() && (whole || field.name.starts_with("spec."))
    };
    let mut fields = validate(object).err().map_or(Vec::new(), |e| e.fields);
    fields.retain(|field| !of_schema(field));
    ValidationError::of(fields)
}

/// What the library checks beside: rules that need the stored object, or others. `stored` is `None` on create.
///
/// # Errors
/// All fields that are wrong, in calicoctl's words.
pub fn check(
    object: &AnyObject,
    stored: Option<&AnyObject>,
    others: &Others<'_>,
) -> Result<(), ValidationError> {
    ValidationError::of(object.check(stored, others))
}

/// Writes the defaults that Calico stores, on create and on update.
pub fn set_defaults(object: &mut AnyObject) {
    object.set_defaults();
}

/// Takes values out of a document that the types of its kind have no place for; see [`Spec::take_unfit`].
pub fn take_unfit(kind: Kind, document: &mut Value) -> Vec<FieldError> {
    struct Take<'a>(&'a mut Value);

    impl KindVisitor for Take<'_> {
        type Output = Vec<FieldError>;

        fn visit<S: Spec>(self) -> Vec<FieldError>
        where
            AnyObject: From<Object<S>>,
        {
            S::take_unfit(self.0)
        }
    }

    kind.visit(Take(document))
}
