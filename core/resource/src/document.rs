//! From a parsed document to an object, strictly, with calicoctl's errors.

use serde_json::Value;

use crate::validate::{ValidationError, take_unfit, validate};
use crate::{AnyObject, Kind};

/// Why a document is no object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No such kind in that group.
    #[error("unknown resource type ({kind}) and/or version ({api_version})")]
    UnknownType {
        /// The document's `kind`.
        kind: String,
        /// The document's `apiVersion`.
        api_version: String,
    },
    /// A field that the kind does not have in that place.
    #[error("field in document is not recognized or is in the wrong location: {0}")]
    UnknownField(String),
    /// A value of the wrong type or form.
    #[error("error unmarshaling JSON: while decoding JSON: {0}")]
    Malformed(String),
    /// A value that calicoctl only refuses when it validates: the resource fails, not the whole file.
    #[error("{error}")]
    Invalid {
        /// The document's kind.
        kind: Kind,
        /// What is wrong.
        error: ValidationError,
    },
}

/// Reads one document. Fields that are null are as absent.
///
/// # Errors
/// [`ParseError`], whose text is calicoctl's after `failed to execute command: ` (or in the list of failed resources for `Invalid`).
pub fn parse_document(mut document: Value) -> Result<AnyObject, ParseError> {
    let text = |field: &str| {
        let value = document.get(field).and_then(Value::as_str);
        value.unwrap_or_default().to_string()
    };
    let (kind, api_version) = (text("kind"), text("apiVersion"));
    let Some(kind) = Kind::from_type(&kind, &api_version) else {
        return Err(ParseError::UnknownType { kind, api_version });
    };
    let mut fields = take_unfit(kind, &mut document);
    let object = AnyObject::from_value(kind, document).map_err(|e| refused(&e.to_string()))?;
    if fields.is_empty() {
        return Ok(object);
    }
    if let Err(error) = validate(&object) {
        fields.extend(error.fields);
    }
    Err(ParseError::Invalid {
        kind,
        error: ValidationError { fields },
    })
}

fn refused(message: &str) -> ParseError {
    let field = message
        .split_once("unknown field `")
        .and_then(|(_, rest)| rest.split_once('`'));
    match field {
        Some((field, _)) => ParseError::UnknownField(field.to_string()),
        None => ParseError::Malformed(message.to_string()),
    }
}
