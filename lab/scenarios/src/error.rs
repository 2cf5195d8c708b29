//! What is wrong with a scenario file, and where.

use std::ops::Range;

/// A scenario that was refused; the text names file, line and the cure where there is one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct ScenarioError {
    /// The file as it was named.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Column, counted from 1, in characters.
    pub column: usize,
    /// What is wrong and, where it is known, what was meant.
    pub message: String,
}

impl ScenarioError {
    /// An error at a byte range of `text`.
    pub fn at(
        file: &str,
        text: &str,
        span: Option<Range<usize>>,
        message: impl Into<String>,
    ) -> Self {
        let start = span.map_or(0, |span| span.start.min(text.len()));
        let before = text.get(..start).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .map_or(0, |rest| rest.chars().count())
            + 1;
        Self {
            file: file.to_owned(),
            line,
            column,
            message: message.into(),
        }
    }

    /// What the TOML reader said, with the key that was probably meant.
    pub(crate) fn from_toml(file: &str, text: &str, error: &toml::de::Error) -> Self {
        let message = error.message();
        let message = match unknown_and_known(message) {
            Some((unknown, known)) => match nearest(unknown, known.iter().copied()) {
                Some(meant) => format!("{message}; did you mean `{meant}`?"),
                None => message.to_owned(),
            },
            None => message.to_owned(),
        };
        Self::at(file, text, error.span(), message)
    }
}

/// Splits serde's "unknown field `x`, expected one of `a`, `b`" (or variant) into its words.
fn unknown_and_known(message: &str) -> Option<(&str, Vec<&str>)> {
    if !message.starts_with("unknown field") && !message.starts_with("unknown variant") {
        return None;
    }
    let mut words = message.split('`').skip(1).step_by(2);
    let unknown = words.next()?;
    Some((unknown, words.collect()))
}

/// The known word within two edits of `word` (one edit for short words), if there is one.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = if word.chars().count() <= 3 { 1 } else { 2 };
    known
        .into_iter()
        .map(|known| (edits(word, known), known))
        .filter(|(edits, _)| *edits <= limit)
        .min()
        .map(|(_, known)| known)
}

/// Levenshtein's distance, a transposition counting as one edit.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let changed = usize::from(a[i - 1] != b[j - 1]);
                let mut best = (rows[i - 1][j] + 1)
                    .min(rows[i][j - 1] + 1)
                    .min(rows[i - 1][j - 1] + changed);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_offered_and_a_far_one_is_not() {
        for (word, expected) in [
            ("harbr", Some("harbor")),
            ("habror", Some("harbor")),
            ("vn", Some("vm")),
            ("printer", None),
        ] {
            assert_eq!(
                nearest(word, ["harbor", "vm", "router"]),
                expected,
                "{word}"
            );
        }
    }
}
