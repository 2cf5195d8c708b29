//! The table in docs/interop.md, which a run writes and another checks.

use crate::Case;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const BEGIN: &str = "<!-- interop table: written by the test -->";
const END: &str = "<!-- end of the interop table -->";
const HEAD: &str = "| peer | test | shows | result |\n|---|---|---|---|\n";

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/interop.md")
}

/// The text before the table, the table, and the text after it.
fn parts(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (table, after) = rest.split_once(END)?;
    Some((before, table, after))
}

fn row(case: &Case) -> String {
    format!("| {} | {} | {} |", case.peer, case.name, case.shows)
}

/// Says what differs between the committed table and the cases that there are.
pub fn check(suites: &[&[Case]]) -> Result<(), String> {
    let text = std::fs::read_to_string(document()).map_err(|e| e.to_string())?;
    let (_, table, _) = parts(&text).ok_or("docs/interop.md has no markers for the table")?;
    let rows = table.lines().skip_while(|line| !line.starts_with("|---"));
    let committed: BTreeSet<String> = rows
        .skip(1)
        .filter_map(|line| line.trim_end_matches('|').rsplit_once("| "))
        .map(|(row, _)| format!("{}|", row.trim_end_matches('|')))
        .collect();
    let cases = suites.iter().copied().flatten();
    let wanted: BTreeSet<String> = cases.map(row).collect();
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>, what: &str| -> String {
        a.difference(b)
            .map(|row| format!("  {what}: {row}\n"))
            .collect()
    };
    let difference = only(&wanted, &committed, "not in the document")
        + &only(&committed, &wanted, "no such case");
    if difference.is_empty() {
        return Ok(());
    }
    Err(format!(
        "interop: docs/interop.md is out of date:\n{difference}  \
         INTEROP_TABLE=docs/interop.md with this test writes it anew"
    ))
}

/// Puts the results between the markers of `file`; rows of cases that did not run stay.
pub fn write(file: &Path, rows: &[(&Case, &str)]) {
    let text = std::fs::read_to_string(file).expect("the document can be read");
    let (before, old, after) = parts(&text).expect("the document has markers for the table");
    let mut table = String::from(HEAD);
    for case in crate::SUITES.iter().copied().flatten() {
        let start = row(case);
        let ran = rows.iter().find(|(ran, _)| ran.name == case.name);
        let kept = || old.lines().find_map(|line| line.strip_prefix(&start));
        let kept = || kept().map(|result| result.trim_matches([' ', '|']).to_owned());
        let result = ran.map(|(_, result)| (*result).to_owned()).or_else(kept);
        table += &format!("{start} {} |\n", result.unwrap_or("not run".into()));
    }
    let text = format!("{before}{BEGIN}\n{table}{END}{after}");
    std::fs::write(file, text).expect("the document can be written");
}
