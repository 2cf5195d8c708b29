//! An object of any kind.

use serde_json::Value;

use crate::kind::for_each_kind;
use crate::spec::{Need, Others, Verb};
use crate::validate::FieldError;
use crate::{Entry, Key, Kind, Metadata, Object, Spec, StoreError, kinds};

macro_rules! any_object {
    ($($variant:ident, $spec:ident, $kind:literal, $plural:literal, $namespaced:literal, $group:ident;)*) => {
        /// An object of one of the kinds.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(clippy::large_enum_variant, reason = "objects are held one at a time or in lists of one kind")]
        pub enum AnyObject {
            $(#[doc = $kind] $variant(Object<kinds::$spec>),)*
        }

        /// Does the same with an object of whatever kind.
        macro_rules! each {
            ($any:expr, $object:ident => $then:expr) => {
                match $any { $(AnyObject::$variant($object) => $then,)* }
            };
        }

        $(impl From<Object<kinds::$spec>> for AnyObject {
            fn from(object: Object<kinds::$spec>) -> AnyObject {
                AnyObject::$variant(object)
            }
        }

        impl<'a> TryFrom<&'a AnyObject> for &'a Object<kinds::$spec> {
            type Error = ();

            fn try_from(object: &'a AnyObject) -> Result<Self, ()> {
                match object {
                    AnyObject::$variant(object) => Ok(object),
                    _ => Err(()),
                }
            }
        })*

        impl AnyObject {
            /// Its kind.
            pub fn kind(&self) -> Kind {
                match self { $(AnyObject::$variant(_) => Kind::$variant,)* }
            }

            /// Reads a document of a known kind; see [`Object::from_value`].
            ///
            /// # Errors
            /// serde_json's.
            pub fn from_value(kind: Kind, document: Value) -> Result<AnyObject, serde_json::Error> {
                match kind {
                    $(Kind::$variant => Object::from_value(document).map(AnyObject::$variant),)*
                }
            }

            /// Reads a stored value; see [`Object::from_entry`].
            ///
            /// # Errors
            /// [`StoreError::Malformed`], also for a key that is no resource's.
            pub fn from_entry(entry: &Entry) -> Result<AnyObject, StoreError> {
                let Key::Resource { kind, .. } = &entry.key else {
                    return Err(StoreError::Malformed {
                        key: entry.key.clone(),
                        reason: "not a resource".to_string(),
                    });
                };
                match kind {
                    $(Kind::$variant => Object::from_entry(entry).map(AnyObject::$variant),)*
                }
            }
        }
    };
}

for_each_kind!(any_object);

impl AnyObject {
    /// Where it lives.
    pub fn key(&self) -> Key {
        each!(self, object => object.key())
    }

    /// Name, labels and so on.
    pub fn metadata(&self) -> &Metadata {
        each!(self, object => &object.metadata)
    }

    /// Name, labels and so on, to be changed.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        each!(self, object => &mut object.metadata)
    }

    /// The text that is stored; see [`Object::to_stored`].
    pub fn to_stored(&self) -> String {
        each!(self, object => object.to_stored())
    }

    /// The document that is shown; see [`Object::to_value`].
    pub fn to_value(&self) -> Value {
        each!(self, object => object.to_value())
    }

    /// See [`Spec::set_defaults`].
    pub(crate) fn set_defaults(&mut self) {
        each!(self, object => Spec::set_defaults(object));
    }

    /// See [`Spec::validate`].
    pub(crate) fn validate(&self) -> Vec<FieldError> {
        each!(self, object => Spec::validate(object))
    }

    /// See [`Spec::needs`].
    pub(crate) fn needs(&self, creates: bool) -> Vec<Need> {
        each!(self, object => Spec::needs(object, creates))
    }

    /// See [`Spec::check`]. A stored object of another kind is as none.
    pub(crate) fn check(&self, stored: Option<&AnyObject>, others: &Others<'_>) -> Vec<FieldError> {
        each!(self, object => Spec::check(object, stored.and_then(|s| s.try_into().ok()), others))
    }

    /// See [`Spec::refuse`].
    pub(crate) fn refuse(&self, verb: Verb) -> Option<String> {
        each!(self, object => Spec::refuse(object, verb))
    }
}
