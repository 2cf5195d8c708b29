//! Annotations whose values people write.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

/// Reads annotations, and keeps account of those that are not valid: they are as if they were not there. So is an empty one.
pub(crate) struct Reader<'a> {
    annotations: &'a BTreeMap<String, String>,
    ignored: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(crate) fn of(annotations: &'a BTreeMap<String, String>) -> Reader<'a> {
        Reader {
            annotations,
            ignored: Vec::new(),
        }
    }

    pub(crate) fn text(&self, annotation: &str) -> Option<&'a str> {
        let text = self.annotations.get(annotation)?;
        Some(text.as_str()).filter(|t| !t.is_empty())
    }

    /// The value where it is valid; `what` is what it should be.
    pub(crate) fn valid<T>(
        &mut self,
        annotation: &str,
        what: &str,
        parse: impl FnOnce(&'a str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(annotation)?;
        let value = parse(text);
        if value.is_none() {
            self.ignore(annotation, &format!("is not {what}"));
        }
        value
    }

    /// The value of JSON; nothing where there is none. A null is as if it were not there.
    pub(crate) fn json<T: DeserializeOwned + Default>(
        &mut self,
        annotation: &str,
        what: &str,
    ) -> T {
        let parse = |text: &str| serde_json::from_str::<Option<T>>(text).ok();
        let value = self.valid(annotation, what, parse);
        value.flatten().unwrap_or_default()
    }

    /// Notes that an annotation is passed over, in part or as a whole, and why.
    pub(crate) fn ignore(&mut self, annotation: &str, why: &str) {
        let text = self.text(annotation).unwrap_or_default();
        self.ignored
            .push(format!("annotation {annotation}: {text:?} {why}"));
    }

    /// What was passed over, one text each.
    pub(crate) fn into_ignored(self) -> Vec<String> {
        self.ignored
    }
}
