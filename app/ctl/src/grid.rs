//! Bordered tables as Calico draws them for `node status` and `ipam show`.

/// The width at which a cell is wrapped.
const WRAP: usize = 30;

fn width(text: &str) -> usize {
    text.chars().count()
}

/// Breaks words into lines of at most `limit` (longer words get more) so that the sum of the squares of what is left
/// free on all lines but the last is least.
fn wrap(text: &str, limit: usize) -> Vec<String> {
    let words: Vec<&str> = text.split(' ').collect();
    let limit = words.iter().map(|w| width(w)).fold(limit, usize::max);
    let count = words.len();
    let length = |from: usize, to: usize| {
        words[from..to].iter().map(|w| width(w)).sum::<usize>() + (to - from - 1)
    };
    // best[i] is the least cost of the words from i on, and where the first of their lines ends.
    let mut best = vec![(0usize, count); count + 1];
    for from in (0..count).rev() {
        if length(from, count) <= limit {
            continue;
        }
        best[from] = (from + 1..count)
            .filter(|&to| length(from, to) <= limit)
            .map(|to| ((limit - length(from, to)).pow(2) + best[to].0, to))
            .min()
            .unwrap_or((0, count));
    }
    let mut lines = Vec::new();
    let mut from = 0;
    while from < count {
        let to = best[from].1;
        lines.push(words[from..to].join(" "));
        from = to;
    }
    lines
}

fn centred(text: &str, to: usize) -> String {
    let gap = to.saturating_sub(width(text));
    format!("{}{text}{}", " ".repeat(gap / 2), " ".repeat(gap - gap / 2))
}

/// Digits with an optional sign and fraction, and with thousands separated by commas or not.
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    let grouped = || {
        let mut groups = whole.split(',');
        groups.next().is_some_and(|g| digits(g) && g.len() <= 3)
            && groups.all(|g| digits(g) && g.len() == 3)
    };
    (digits(whole) || grouped()) && fraction.is_none_or(digits)
}

fn padded(text: &str, to: usize) -> String {
    let gap = " ".repeat(to.saturating_sub(width(text)));
    if is_number(text) {
        gap + text
    } else {
        text.to_string() + &gap
    }
}

/// Draws a table: headings centred, numbers to the right, other cells to the left and wrapped at 30 columns.
pub fn draw(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|h| width(h)).collect();
    let mut wrapped = Vec::new();
    for row in rows {
        let mut cells = Vec::new();
        for (cell, column) in row.iter().zip(&mut widths) {
            let limit = width(cell).min(WRAP);
            let lines = wrap(cell, limit);
            *column = lines
                .iter()
                .map(|line| width(line))
                .fold(limit.max(*column), usize::max);
            cells.push(lines);
        }
        wrapped.push(cells);
    }
    let rule: String = widths
        .iter()
        .map(|w| format!("+{}", "-".repeat(w + 2)))
        .collect::<String>()
        + "+\n";
    let mut text = rule.clone();
    for (heading, width) in headings.iter().zip(&widths) {
        text += &format!("| {} ", centred(heading, *width));
    }
    text += "|\n";
    text += &rule;
    for cells in &wrapped {
        let height = cells.iter().map(Vec::len).max().unwrap_or(0);
        for line in 0..height {
            for (cell, width) in cells.iter().zip(&widths) {
                let part = cell.get(line).map_or("", String::as_str);
                text += &format!("| {} ", padded(part, *width));
            }
            text += "|\n";
        }
    }
    text + &rule
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_wrapped_with_the_least_raggedness() {
        assert_eq!(
            wrap("Active Socket: Connection refused", 30),
            ["Active Socket: Connection", "refused"]
        );
        assert_eq!(wrap("Established", 11), ["Established"]);
        assert_eq!(wrap("", 0), [""]);
        // The long word widens the limit to 10; "a b" and "c" are left to share lines with it.
        assert_eq!(wrap("aa 0123456789 bb", 5), ["aa", "0123456789", "bb"]);
    }

    #[test]
    fn numbers_are_told_from_words() {
        for text in ["0", "65536", "-1", "1,234", "0.5"] {
            assert!(is_number(text), "{text}");
        }
        for text in ["", "-", "0 (0%)", "1.3107e+05", "12,34", "1.", "false"] {
            assert!(!is_number(text), "{text}");
        }
    }

    #[test]
    fn drawn_as_captured() {
        let expected = "\
+----------+---------------+-----------+------------+--------------+
| GROUPING |     CIDR      | IPS TOTAL | IPS IN USE |   IPS FREE   |
+----------+---------------+-----------+------------+--------------+
| IP Pool  | 10.244.0.0/16 |     65536 | 0 (0%)     | 65536 (100%) |
+----------+---------------+-----------+------------+--------------+
";
        let row = [
            "IP Pool",
            "10.244.0.0/16",
            "65536",
            "0 (0%)",
            "65536 (100%)",
        ];
        let headings = ["GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS FREE"];
        assert_eq!(draw(&headings, &[row.map(String::from).to_vec()]), expected);
    }
}
