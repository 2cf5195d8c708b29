//! The few shell forms in which a how-to writes commands: plain lines, and a document for standard input.

/// One command with what it reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments.
    pub words: Vec<String>,
    /// Standard input.
    pub stdin: String,
}

/// The commands of a script, or `None` when it uses more of a shell than is known here.
///
/// Known are `program words...` with quotes, `program ... << WORD` with a document, and `cat << WORD | program ...`.
pub fn commands(script: &str) -> Option<Vec<Command>> {
    let mut found = Vec::new();
    let mut lines = script.lines();
    while let Some(line) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((before, after)) = line.split_once("<<") else {
            found.push(Command {
                words: words(line)?,
                stdin: String::new(),
            });
            continue;
        };
        let after = after.trim_start();
        let (end, rest) = after.split_once([' ', '|']).unwrap_or((after, ""));
        let program = match (before.trim(), rest.trim_start_matches([' ', '|'])) {
            ("cat", program) if !program.is_empty() => program,
            (program, "") => program,
            _ => return None,
        };
        let mut stdin = String::new();
        for line in lines.by_ref().take_while(|line| line.trim() != end) {
            stdin.push_str(line);
            stdin.push('\n');
        }
        found.push(Command {
            words: words(program)?,
            stdin,
        });
    }
    Some(found)
}

/// Splits a line into words; `None` where it has what only a shell understands.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let (mut word, mut open, mut quote) = (String::new(), false, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), c) => word.push(c),
            (None, '\'' | '"') => (quote, open) = (Some(c), true),
            (None, '|' | '>' | '<' | '`' | '$' | ';' | '&' | '\\' | '*' | '(') => return None,
            (None, c) if c.is_whitespace() => {
                if open || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                open = false;
            }
            (None, c) => word.push(c),
        }
    }
    if open || !word.is_empty() {
        words.push(word);
    }
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(script: &str, expected: Option<&[(&[&str], &str)]>) {
        let expected = expected.map(|list| {
            let command = |(words, stdin): &(&[&str], &str)| Command {
                words: words.iter().map(ToString::to_string).collect(),
                stdin: (*stdin).to_string(),
            };
            list.iter().map(command).collect::<Vec<_>>()
        });
        assert_eq!(commands(script), expected, "{script}");
    }

    #[test]
    fn the_how_tos_forms() {
        check(
            "# why\nip route add 10.0.0.0/8 via 10.0.0.1\n",
            Some(&[(&["ip", "route", "add", "10.0.0.0/8", "via", "10.0.0.1"], "")]),
        );
        check(
            "calicoctl patch node a -p '{\"a\": 1}'",
            Some(&[(&["calicoctl", "patch", "node", "a", "-p", "{\"a\": 1}"], "")]),
        );
        check(
            "calicoctl apply -f - << EOF\na: 1\nEOF\n",
            Some(&[(&["calicoctl", "apply", "-f", "-"], "a: 1\n")]),
        );
        check(
            "cat<<EOF | calicoctl apply -f -\na: 1\nEOF",
            Some(&[(&["calicoctl", "apply", "-f", "-"], "a: 1\n")]),
        );
    }

    #[test]
    fn what_only_a_shell_can_is_left_to_one() {
        check("for i in 1 2; do curl a; done", None);
        check("calicoctl get nodes | sed s/a/b/", None);
        check("echo $HOME", None);
    }
}
