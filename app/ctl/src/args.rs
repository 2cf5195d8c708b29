//! Command lines as docopt reads them.
//!
//! Options may stand anywhere, long ones may be cut short while they stay unique, short ones may be bundled and carry
//! their value with or without a space. What a command's usage does not allow is [`Misuse::Usage`].

/// One option that a command knows.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// The long name without dashes.
    pub long: &'static str,
    /// The letter, if it has one.
    pub short: Option<char>,
    /// Whether a value follows.
    pub value: bool,
    /// Whether it may be given more than once.
    pub many: bool,
}

/// An option without a value.
pub const fn flag(long: &'static str, short: Option<char>) -> Opt {
    Opt {
        long,
        short,
        value: false,
        many: false,
    }
}

/// An option with a value.
pub const fn value(long: &'static str, short: Option<char>) -> Opt {
    Opt {
        long,
        short,
        value: true,
        many: false,
    }
}

/// An option with a value that may be given more than once.
pub const fn values(long: &'static str) -> Opt {
    Opt {
        long,
        short: None,
        value: true,
        many: true,
    }
}

/// Why a command line was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misuse {
    /// `-h` or `--help` is among the options.
    Help,
    /// It does not fit the usage.
    Usage,
}

/// A command line, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    options: Vec<(&'static str, Option<String>)>,
    /// What is not an option, in order.
    pub positionals: Vec<String>,
}

impl Args {
    /// Whether the option is there.
    pub fn has(&self, long: &str) -> bool {
        self.options.iter().any(|(name, _)| *name == long)
    }

    /// The option's value.
    pub fn get(&self, long: &str) -> Option<&str> {
        self.options
            .iter()
            .find(|(name, _)| *name == long)
            .and_then(|(_, value)| value.as_deref())
    }

    /// All of the option's values, in order.
    pub fn all(&self, long: &str) -> Vec<&str> {
        let options = self.options.iter().filter(|(name, _)| *name == long);
        options.filter_map(|(_, value)| value.as_deref()).collect()
    }
}

/// Reads `argv` (without the command's own name). With `options_first`, everything after the first positional is
/// positional too.
///
/// # Errors
/// [`Misuse`]; help wins over an option that is not known, as in docopt.
pub fn parse(argv: &[String], known: &[Opt], options_first: bool) -> Result<Args, Misuse> {
    let mut reader = Reader {
        known,
        args: Args::default(),
        help: false,
        misuse: false,
    };
    let mut rest = argv.iter();
    while let Some(word) = rest.next() {
        if word == "--" {
            reader.args.positionals.extend(rest.by_ref().cloned());
        } else if let Some(long) = word.strip_prefix("--") {
            reader.long(long, &mut rest)?;
        } else if word.len() > 1 && word.starts_with('-') {
            reader.shorts(&word[1..], &mut rest)?;
        } else {
            reader.args.positionals.push(word.clone());
            if options_first {
                reader.args.positionals.extend(rest.by_ref().cloned());
            }
        }
    }
    if reader.help {
        return Err(Misuse::Help);
    }
    if reader.misuse {
        return Err(Misuse::Usage);
    }
    Ok(reader.args)
}

struct Reader<'a> {
    known: &'a [Opt],
    args: Args,
    help: bool,
    misuse: bool,
}

impl Reader<'_> {
    fn set(&mut self, option: Opt, value: Option<String>) {
        self.misuse |= !option.many && self.args.has(option.long);
        self.args.options.push((option.long, value));
    }

    fn long(&mut self, word: &str, rest: &mut std::slice::Iter<'_, String>) -> Result<(), Misuse> {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_string())),
            None => (word, None),
        };
        let exact = self.known.iter().find(|o| o.long == name);
        let mut similar = self.known.iter().filter(|o| o.long.starts_with(name));
        let first = similar.next();
        // One with two letters is listed twice.
        let other = similar.find(|o| first.is_some_and(|first| first.long != o.long));
        let option = match (exact, first, other) {
            (Some(option), _, _) | (None, Some(option), None) => *option,
            (None, Some(_), Some(_)) => return Err(Misuse::Usage),
            (None, None, _) if !name.is_empty() && "help".starts_with(name) => {
                self.help = true;
                return Ok(());
            }
            (None, None, _) => {
                self.misuse = true;
                return Ok(());
            }
        };
        let value = match (option.value, value) {
            (true, Some(value)) => Some(value),
            (true, None) => Some(rest.next().cloned().ok_or(Misuse::Usage)?),
            (false, None) => None,
            (false, Some(_)) => return Err(Misuse::Usage),
        };
        self.set(option, value);
        Ok(())
    }

    fn shorts(
        &mut self,
        letters: &str,
        rest: &mut std::slice::Iter<'_, String>,
    ) -> Result<(), Misuse> {
        let mut left = letters.chars();
        while let Some(letter) = left.next() {
            let Some(option) = self.known.iter().find(|o| o.short == Some(letter)).copied() else {
                self.help |= letter == 'h';
                self.misuse |= letter != 'h';
                continue;
            };
            if !option.value {
                self.set(option, None);
                continue;
            }
            let attached = left.as_str();
            let value = if attached.is_empty() {
                rest.next().cloned().ok_or(Misuse::Usage)?
            } else {
                attached.to_string()
            };
            self.set(option, Some(value));
            return Ok(());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Opt] = &[
        value("output", Some('o')),
        value("filename", Some('f')),
        flag("recursive", Some('R')),
        flag("export", None),
        flag("extra", None),
        values("report"),
    ];

    fn check(line: &str, expected: Result<(&[&str], &[&str]), Misuse>) {
        let argv: Vec<String> = line.split_whitespace().map(String::from).collect();
        let read = parse(&argv, KNOWN, false).map(|args| {
            let options: Vec<String> = args
                .options
                .iter()
                .map(|(name, value)| match value {
                    Some(value) => format!("{name}={value}"),
                    None => (*name).to_string(),
                })
                .collect();
            (options, args.positionals)
        });
        let expected = expected.map(|(options, positionals)| {
            (
                options.iter().map(ToString::to_string).collect::<Vec<_>>(),
                positionals
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>(),
            )
        });
        assert_eq!(read, expected, "{line}");
    }

    #[test]
    fn as_docopt_reads() {
        check("ippool p1 p2", Ok((&[], &["ippool", "p1", "p2"])));
        check(
            "-o yaml ippool --export",
            Ok((&["output=yaml", "export"], &["ippool"])),
        );
        check("-oyaml", Ok((&["output=yaml"], &[])));
        check("--output=yaml", Ok((&["output=yaml"], &[])));
        check("--out yaml", Ok((&["output=yaml"], &[])));
        check("-Rf -", Ok((&["recursive", "filename=-"], &[])));
        check("-- -o x", Ok((&[], &["-o", "x"])));
        check("-f", Err(Misuse::Usage));
        check("--bogus", Err(Misuse::Usage));
        check("--ex", Err(Misuse::Usage));
        check("--export=1", Err(Misuse::Usage));
        check("-o yaml -o json", Err(Misuse::Usage));
        check(
            "--report a --report=b",
            Ok((&["report=a", "report=b"], &[])),
        );
        check("--bogus -h", Err(Misuse::Help));
        check("--he", Err(Misuse::Help));
    }

    #[test]
    fn options_first_leaves_the_rest_alone() {
        let argv: Vec<String> = ["-o", "x", "get", "--export"].map(String::from).to_vec();
        let args = parse(&argv, KNOWN, true).unwrap();
        assert_eq!(args.positionals, ["get", "--export"]);
        assert_eq!(args.get("output"), Some("x"));
        assert!(!args.has("export"));
    }
}
