//! Columns as Go's text/tabwriter aligns them.

const MIN_WIDTH: usize = 5;
const PADDING: usize = 3;

/// Lays rows out with minimal width 5 and padding 3, every cell padded, the last one too (calico-compat §5.5), and a
/// blank line after them.
pub fn align(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count() + PADDING)
                .fold(MIN_WIDTH, usize::max)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
        }
        text.push('\n');
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::align;

    fn check(rows: &[&[&str]], expected: &str) {
        let rows: Vec<Vec<String>> = rows
            .iter()
            .map(|row| row.iter().map(ToString::to_string).collect())
            .collect();
        assert_eq!(align(&rows), expected);
    }

    #[test]
    fn cells_are_padded_to_the_widest_and_three() {
        check(&[&["NAME"]], "NAME   \n\n");
        check(
            &[&["NAME", "CIDR"], &["my-pool", "10.244.0.0/16"]],
            "NAME      CIDR            \nmy-pool   10.244.0.0/16   \n\n",
        );
        check(&[&["A", ""], &["é", "x"]], "A         \né    x    \n\n");
    }
}
