//! An object of any kind.

use serde_json::Value;

use crate::kinds::{
    BgpConfiguration, BgpFilter, BgpPeer, ClusterInformation, EndpointSlice, IpPool, Node,
    PeerPolicy, Service, WorkloadEndpoint,
};
use crate::{Entry, Key, Kind, Metadata, Object, StoreError};

macro_rules! any_object {
    ($($variant:ident,)*) => {
        /// An object of one of the kinds.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(clippy::large_enum_variant, reason = "objects are held one at a time or in lists of one kind")]
        pub enum AnyObject {
            $(#[doc = concat!("A ", stringify!($variant), ".")] $variant($variant),)*
        }

        impl AnyObject {
            /// Its kind.
            pub fn kind(&self) -> Kind {
                match self { $(AnyObject::$variant(_) => Kind::$variant,)* }
            }

            /// Where it lives.
            pub fn key(&self) -> Key {
                match self { $(AnyObject::$variant(object) => object.key(),)* }
            }

            /// Name, labels and so on.
            pub fn metadata(&self) -> &Metadata {
                match self { $(AnyObject::$variant(object) => &object.metadata,)* }
            }

            /// Name, labels and so on, to be changed.
            pub fn metadata_mut(&mut self) -> &mut Metadata {
                match self { $(AnyObject::$variant(object) => &mut object.metadata,)* }
            }

            /// The text that is stored; see [`Object::to_stored`].
            pub fn to_stored(&self) -> String {
                match self { $(AnyObject::$variant(object) => object.to_stored(),)* }
            }

            /// The document that is shown; see [`Object::to_value`].
            pub fn to_value(&self) -> Value {
                match self { $(AnyObject::$variant(object) => object.to_value(),)* }
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

        $(impl From<$variant> for AnyObject {
            fn from(object: $variant) -> AnyObject {
                AnyObject::$variant(object)
            }
        })*
    };
}

any_object! {
    BgpConfiguration,
    BgpPeer,
    BgpFilter,
    Node,
    IpPool,
    WorkloadEndpoint,
    ClusterInformation,
    PeerPolicy,
    Service,
    EndpointSlice,
}
