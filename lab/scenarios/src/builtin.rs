//! The scenarios and example files that the binary carries.

use std::path::Path;

use crate::error::ScenarioError;
use crate::model::Scenario;

/// A scenario inside the binary.
#[derive(Debug, Clone, Copy)]
pub struct Builtin {
    /// The name for `selvedge lab run NAME`.
    pub name: &'static str,
    /// Its file.
    pub text: &'static str,
}

/// All scenarios inside the binary.
pub const BUILTIN: &[Builtin] = &[
    Builtin {
        name: "howto",
        text: include_str!("../howto.toml"),
    },
    Builtin {
        name: "howto-bird",
        text: include_str!("../howto-bird.toml"),
    },
    Builtin {
        name: "bgpfilter",
        text: include_str!("../bgpfilter.toml"),
    },
    Builtin {
        name: "move-datastore",
        text: include_str!("../move-datastore.toml"),
    },
];

/// Network files that scenarios stand on.
const NETWORKS: &[(&str, &str)] = &[("howto.network.toml", include_str!("../howto.network.toml"))];

/// The files of examples/howto by name; every host has them in /root/howto.
pub const EXAMPLES: &[(&str, &str)] = &[
    (
        "bgpconfiguration.yaml",
        include_str!("../../../examples/howto/bgpconfiguration.yaml"),
    ),
    (
        "bgppeer-with-route-reflectors.yaml",
        include_str!("../../../examples/howto/bgppeer-with-route-reflectors.yaml"),
    ),
    (
        "bgppeer-rrs-to-rrs.yaml",
        include_str!("../../../examples/howto/bgppeer-rrs-to-rrs.yaml"),
    ),
    (
        "ippool.yaml",
        include_str!("../../../examples/howto/ippool.yaml"),
    ),
    (
        "services.yaml",
        include_str!("../../../examples/howto/services.yaml"),
    ),
];

/// The text of an example file.
pub fn example(name: &str) -> Option<&'static str> {
    EXAMPLES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, text)| *text)
}

/// Reads a scenario by built-in name, or by path when `name` holds a `/` or ends in `.toml`.
///
/// Returns its short name too: the built-in name or the file's stem.
pub fn load(name: &str) -> Result<(String, Scenario), ScenarioError> {
    if let Some(builtin) = BUILTIN.iter().find(|builtin| builtin.name == name) {
        let file = format!("lab/scenarios/{name}.toml");
        return Ok((
            name.to_owned(),
            Scenario::parse_with(&file, builtin.text, network)?,
        ));
    }
    let refused = |message: String| ScenarioError {
        file: name.to_owned(),
        line: 1,
        column: 1,
        message,
    };
    if !name.contains('/') && !name.ends_with(".toml") {
        let known = BUILTIN.iter().map(|builtin| builtin.name);
        let cure = crate::nearest(name, known.clone()).map_or_else(
            || format!("there are: {}", known.collect::<Vec<_>>().join(", ")),
            |meant| format!("did you mean `{meant}`?"),
        );
        return Err(refused(format!(
            "no scenario of this name; {cure} (a path ends in .toml)"
        )));
    }
    let text = std::fs::read_to_string(name)
        .map_err(|error| refused(format!("cannot be read: {error}")))?;
    let stem = Path::new(name).file_stem().map_or_else(
        || name.to_owned(),
        |stem| stem.to_string_lossy().into_owned(),
    );
    let beside =
        |network_file: &str| match Path::new(name).parent().map(|dir| dir.join(network_file)) {
            Some(path) if path.exists() => std::fs::read_to_string(&path)
                .map_err(|error| format!("{} cannot be read: {error}", path.display())),
            _ => network(network_file),
        };
    Ok((stem, Scenario::parse_with(name, &text, beside)?))
}

fn network(name: &str) -> Result<String, String> {
    let found = NETWORKS.iter().find(|(known, _)| *known == name);
    let known = || {
        NETWORKS
            .iter()
            .map(|(known, _)| *known)
            .collect::<Vec<_>>()
            .join(", ")
    };
    found
        .map(|(_, text)| (*text).to_owned())
        .ok_or_else(|| format!("no network file {name}; there are: {}", known()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_what_the_example_files_hold() {
        let mut compared = 0;
        for builtin in BUILTIN {
            let (_, scenario) = load(builtin.name).unwrap_or_else(|error| panic!("{error}"));
            for step in &scenario.steps {
                let Some(exec) = &step.exec else { continue };
                for file in &step.apply {
                    let text = example(file.get_ref()).expect("checked when read");
                    let named = exec.contains(&format!("howto/{}", file.get_ref()));
                    assert!(named || exec.contains(text), "{}: {exec}", file.get_ref());
                    compared += 1;
                }
            }
        }
        assert!(compared >= 5, "{compared}");
    }

    /// The how-to's indented lines are commands, or lines of files, of the scenario.
    #[test]
    fn the_move_of_a_datastore_is_done_as_its_how_to_says() {
        let page = include_str!("../../../docs/howto/move-datastore.md");
        let (_, scenario) = load("move-datastore").expect("good");
        let texts = scenario.steps.iter().filter_map(|step| step.exec.as_ref());
        let files = scenario.profiles.values().flat_map(|p| p.files.values());
        let done: Vec<&str> = texts.chain(files).flat_map(|text| text.lines()).collect();
        let lines = page.lines().filter_map(|line| line.strip_prefix("    "));
        let lines: Vec<&str> = lines
            .map(|line| line.split("    #").next().unwrap_or(line).trim_end())
            .collect();
        for line in &lines {
            assert!(done.contains(line), "{line}");
        }
        assert!(lines.len() > 25, "{lines:?}");
        let commands = done.iter().filter(|line| line.contains(" migrate "));
        for command in commands {
            assert!(lines.contains(command), "{command}");
        }
    }

    #[test]
    fn every_scenario_inside_the_binary_is_good() {
        for builtin in BUILTIN {
            load(builtin.name).unwrap_or_else(|error| panic!("{error}"));
        }
        let error = load("howto-brid").expect_err("a typo").message;
        assert!(error.contains("did you mean `howto-bird`?"), "{error}");
    }
}
