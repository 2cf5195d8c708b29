//! What people call the kinds.

use resource::Kind;

use crate::command::Persona;
use crate::tables::view;

/// The kind that a word stands for, in any case and number; calicoctl's aliases, and kubectl's for Services. calicoctl does not know
/// every kind that there is.
pub fn kind(word: &str, persona: Persona) -> Option<Kind> {
    let word = word.to_lowercase();
    known(persona).find(|kind| {
        word == kind.as_str().to_lowercase()
            || word == kind.plural()
            || view(*kind).words.contains(&word.as_str())
    })
}

/// The kinds that are known to whom the program speaks as.
pub fn known(persona: Persona) -> impl Iterator<Item = Kind> {
    let all = Kind::ALL.iter().copied();
    all.filter(move |kind| persona == Persona::Selvedge || view(*kind).in_calicoctl)
}

/// The name of a kind that a mistyped word is nearest to: at most two letters more, less or other.
pub fn nearest(word: &str) -> Option<&'static str> {
    let word = word.to_lowercase();
    let singular = word.strip_suffix('s').unwrap_or(&word);
    let distances = Kind::ALL.iter().map(|kind| {
        let plural = kind.plural();
        let name = plural.strip_suffix('s').unwrap_or(plural);
        (distance(singular, name), plural)
    });
    distances
        .filter(|(distance, _)| *distance <= 2 && singular.len() > 3)
        .min()
        .map(|(_, plural)| plural)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_name_and_its_plural() {
        for ours in Kind::ALL {
            assert_eq!(kind(ours.as_str(), Persona::Selvedge), Some(*ours));
            assert_eq!(kind(ours.plural(), Persona::Selvedge), Some(*ours));
        }
    }

    #[test]
    fn a_word_stands_for_one_kind() {
        let mut words: Vec<String> = Vec::new();
        for kind in Kind::ALL {
            let (name, plural) = (kind.as_str().to_lowercase(), kind.plural().to_string());
            // Of one that is many already, as Kubernetes' Endpoints, there is one word.
            words.extend(Some(name).filter(|name| *name != plural));
            words.push(plural);
            words.extend(view(*kind).words.iter().map(ToString::to_string));
        }
        let all = words.len();
        words.sort();
        words.dedup();
        assert_eq!(words.len(), all);
    }

    #[test]
    fn words_that_are_no_kind() {
        let selvedge = |word| kind(word, Persona::Selvedge);
        assert_eq!(selvedge("ipPool"), Some(Kind::IpPool));
        assert_eq!(selvedge("bogus"), None);
        assert_eq!(kind("ipamconfiguration", Persona::Calicoctl), None);
        assert_eq!(nearest("ipool"), Some("ippools"));
        assert_eq!(nearest("Nodez"), Some("nodes"));
        assert_eq!(nearest("workloadendpont"), Some("workloadendpoints"));
        assert_eq!(nearest("bogus"), None);
        assert_eq!(nearest("nod"), None);
    }
}
