//! Whether docs/symptoms.md explains what is printed.

/// docs/symptoms.md has a row whose parts stand in the message, in their order. Gives the message back.
pub fn explained(message: &str) -> String {
    let page = include_str!("../../../../docs/symptoms.md");
    let rows = page
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| `")?.split_once("` |")?.0));
    let fits = |row: &str| {
        let mut rest = Some(message);
        for part in row.split('…') {
            rest = rest.and_then(|r| Some(r.split_once(part.trim())?.1));
        }
        rest.is_some()
    };
    let found = rows.filter(|row| fits(row)).count();
    assert!(found > 0, "docs/symptoms.md does not explain: {message}");
    message.to_string()
}
