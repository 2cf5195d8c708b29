//! What the documents promise.

/// Lines that README.md may have, so that it stays a first page.
pub const LONGEST_README: usize = 150;

/// The paths in backticks in the second column of the table under the heading "Where to change X".
pub fn paths_to_change(architecture: &str) -> Vec<String> {
    let section = architecture
        .lines()
        .skip_while(|l| !(l.starts_with('#') && l.to_lowercase().contains("where to change")))
        .skip(1)
        .take_while(|l| !l.starts_with('#'));
    let mut paths = Vec::new();
    for line in section.filter(|l| l.starts_with('|')) {
        let column = line.split('|').nth(2).unwrap_or_default();
        let quoted = column.split('`').skip(1).step_by(2);
        paths.extend(quoted.map(str::to_owned));
    }
    paths
}

/// The paths of source files and tests that stand in backticks in a document's tables.
pub fn paths_in_tables(document: &str) -> Vec<String> {
    let rows = document.lines().filter(|l| l.starts_with('|'));
    let quoted = rows.flat_map(|l| l.split('`').skip(1).step_by(2));
    let is_path = |text: &&str| text.contains("/src/") || text.contains("/tests/");
    quoted.filter(is_path).map(str::to_owned).collect()
}

/// Of these paths those for which `exists` says no, each as a line.
pub fn absent(document: &str, paths: &[String], exists: impl Fn(&str) -> bool) -> Vec<String> {
    let gone = paths.iter().filter(|p| !exists(p));
    gone.map(|p| format!("{document} names {p}, which does not exist"))
        .collect()
}

/// A line when the text is longer than a first page should be.
pub fn too_long(readme: &str) -> Option<String> {
    let lines = readme.lines().count();
    (lines > LONGEST_README)
        .then(|| format!("README.md has {lines} lines, {LONGEST_README} are allowed"))
}
