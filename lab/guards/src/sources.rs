//! What a source file may hold, and how long it may be.

/// Lines that a file may have, its tests not counted.
pub const LONGEST: usize = 600;

/// Texts that do not belong in `core/`: the world, or a way to ask it for something. Time and random values are arguments.
pub const NOT_IN_CORE: [&str; 15] = [
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
    "std::os",
    "std::io::std",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "Instant::now",
    "SystemTime",
    "RandomState",
    "unsafe ",
    "println!",
    "Mutex",
];

/// A source file by its path below the workspace.
#[derive(Clone, Debug)]
pub struct Source {
    /// `core/dns/src/zone.rs`.
    pub path: String,
    /// All of it.
    pub text: String,
}

impl Source {
    /// How many lines stand before the unit tests, which are at a file's end; none in a file that is itself a test.
    fn product_length(&self) -> usize {
        if self.path.split('/').any(|part| part == "tests") {
            return 0;
        }
        let lines: Vec<&str> = self.text.lines().collect();
        let is_tests = |pair: &[&str]| {
            let is_module = pair[1].trim_start().starts_with("mod ") && pair[1].ends_with('{');
            pair[0].trim() == "#[cfg(test)]" && is_module
        };
        let tests = lines.windows(2).position(is_tests);
        tests.unwrap_or(lines.len())
    }

    /// The lines without comments, numbered from 1: those of the product, or those of its tests.
    fn code(&self, of: Part) -> impl Iterator<Item = (usize, &str)> {
        let length = self.product_length();
        let lines = (self.text.lines().enumerate())
            .filter(move |(i, _)| (*i < length) == (of == Part::Product));
        lines.map(|(i, line)| (i + 1, line.split("//").next().unwrap_or_default()))
    }

    /// Where these texts are, as `path:line: text`.
    fn find(&self, of: Part, texts: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        for (number, code) in self.code(of) {
            let here = texts.iter().filter(|text| code.contains(**text));
            found.extend(here.map(|text| format!("{}:{number}: {text}", self.path)));
        }
        found
    }
}

/// Which lines of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Product,
    Tests,
}

/// Files that are too long and not in `listed` (path, reason), and entries of `listed` that are no longer needed.
pub fn too_long(sources: &[Source], listed: &[(&str, &str)]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let length = source.product_length();
        let entry = listed.iter().find(|(path, _)| *path == source.path);
        match entry {
            None if length > LONGEST => found.push(format!(
                "{}: {length} lines, {LONGEST} are allowed: what is its second subject?",
                source.path
            )),
            Some((_, reason)) if length > LONGEST && reason.is_empty() => {
                found.push(format!("{}: listed without a reason", source.path));
            }
            Some(_) if length <= LONGEST => {
                found.push(format!("{}: listed, but only {length} lines", source.path));
            }
            _ => {}
        }
    }
    for (path, _) in listed {
        if !sources.iter().any(|s| s.path == *path) {
            found.push(format!("{path}: listed, but does not exist"));
        }
    }
    found
}

/// Crates whose `lib.rs` or `main.rs` does not open with a front page.
pub fn without_front_page(sources: &[Source]) -> Vec<String> {
    let roots = sources.iter().filter(|s| {
        let in_src = s.path.split('/').nth(2) == Some("src") && s.path.split('/').count() == 4;
        in_src && (s.path.ends_with("/lib.rs") || s.path.ends_with("/main.rs"))
    });
    roots
        .filter(|s| !s.text.starts_with("//! "))
        .map(|s| format!("{}: begins without //! docs", s.path))
        .collect()
}

/// Lines of `core/` that hold one of [`NOT_IN_CORE`], unit tests and comments left out, and what is in `listed` (path,
/// text, reason).
pub fn impure_lines(sources: &[Source], listed: &[(&str, &str, &str)]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let parts: Vec<&str> = source.path.split('/').collect();
        if !matches!(parts[..], ["core", _, "src", ..]) {
            continue;
        }
        let own =
            |(path, _, reason): &&(&str, &str, &str)| *path == source.path && !reason.is_empty();
        let allowed: Vec<&str> = listed
            .iter()
            .filter(own)
            .map(|(_, text, _)| *text)
            .collect();
        let texts: Vec<&str> = (NOT_IN_CORE.into_iter())
            .filter(|text| !allowed.contains(text))
            .collect();
        found.extend(source.find(Part::Product, &texts));
    }
    found
}

/// Lines of the product that unwrap: `expect` says the invariant, an error says more.
pub fn unwraps(sources: &[Source]) -> Vec<String> {
    let texts = [".unwrap()", ".unwrap_err()"];
    sources
        .iter()
        .flat_map(|s| s.find(Part::Product, &texts))
        .collect()
}

/// Lines that permit unsafe code outside host/linux, in tests too.
pub fn unsafe_outside_linux(sources: &[Source]) -> Vec<String> {
    let texts = ["allow(unsafe_code", "expect(unsafe_code"];
    let outside = sources
        .iter()
        .filter(|s| !s.path.starts_with("host/linux/"));
    outside
        .flat_map(|s| [s.find(Part::Product, &texts), s.find(Part::Tests, &texts)].concat())
        .collect()
}

/// Lines of tests that sleep, but for files in `listed` (path, reason): a test waits for a condition.
pub fn sleeping_tests(sources: &[Source], listed: &[(&str, &str)]) -> Vec<String> {
    let is_listed = |s: &&Source| {
        listed
            .iter()
            .any(|(path, reason)| *path == s.path && !reason.is_empty())
    };
    let others = sources.iter().filter(|s| !is_listed(s));
    others
        .flat_map(|s| s.find(Part::Tests, &["thread::sleep", "time::sleep", "sleep_ms"]))
        .collect()
}
