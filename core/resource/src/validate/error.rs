//! Fields that are wrong, in calicoctl's words.

use std::fmt;

/// One field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field, as calicoctl names it (`IPPool.Spec.CIDR`, `NodeSelector`, `spec.ipipMode`).
    pub name: String,
    /// Its value, where calicoctl shows it.
    pub value: Option<String>,
    /// Why it is wrong.
    pub reason: String,
}

impl FieldError {
    /// A field with its value.
    pub fn new(
        name: impl Into<String>,
        value: impl Into<String>,
        reason: impl Into<String>,
    ) -> FieldError {
        FieldError {
            name: name.into(),
            value: Some(value.into()),
            reason: reason.into(),
        }
    }

    /// A field whose value is not shown.
    pub fn without_value(name: impl Into<String>, reason: impl Into<String>) -> FieldError {
        FieldError {
            name: name.into(),
            value: None,
            reason: reason.into(),
        }
    }

    /// A field that fails a rule which has only a name.
    pub(crate) fn tag(field: &str, value: impl Into<String>, tag: &str) -> FieldError {
        FieldError::new(
            field,
            value,
            format!("Reason: failed to validate Field: {field} because of Tag: {tag} "),
        )
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = '{value}' ({})", self.name, self.reason),
            None => write!(f, "{} ({})", self.name, self.reason),
        }
    }
}

/// At least one field is wrong. The text is calicoctl's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationError {
    /// The fields.
    pub fields: Vec<FieldError>,
}

impl ValidationError {
    /// An error where there are fields, else none.
    ///
    /// # Errors
    /// The fields.
    pub fn of(fields: Vec<FieldError>) -> Result<(), ValidationError> {
        if fields.is_empty() {
            Ok(())
        } else {
            Err(ValidationError { fields })
        }
    }
}

impl fmt::Display for ValidationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [field] = self.fields.as_slice() {
            return write!(f, "error with field {field}");
        }
        f.write_str("error with the following fields:\n")?;
        self.fields
            .iter()
            .try_for_each(|field| writeln!(f, "-  {field}"))
    }
}

impl std::error::Error for ValidationError {}
