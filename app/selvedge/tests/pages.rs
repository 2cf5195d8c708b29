//! Completion and man pages, used as a shell and a reader use them.

use std::fs;
use std::path::Path;
use std::process::Command;

fn pages() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_selvedge"))
        .args(["pages", folder.path().to_str().unwrap()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    folder
}

/// What bash offers for the last of these words.
fn completed(folder: &Path, program: &str, words: &[&str]) -> Vec<String> {
    let script = folder.join(format!("bash-completion/{program}.bash"));
    let words: Vec<&str> = [program].iter().chain(words).copied().collect();
    let (last, previous) = (words[words.len() - 1], words[words.len() - 2]);
    let line = format!(
        "source {}; COMP_WORDS=({}); COMP_CWORD={}; _{program} {program} '{last}' '{previous}'; echo \"${{COMPREPLY[@]}}\"",
        script.display(),
        words
            .iter()
            .map(|word| format!("'{word}' "))
            .collect::<String>(),
        words.len() - 1,
    );
    let output = Command::new("bash").args(["-c", &line]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().map(str::to_string).collect()
}

#[test]
fn bash_completes_commands_options_and_kinds() {
    let folder = pages();
    let folder = folder.path();
    for (program, words, offered) in [
        ("calicoctl", &["ap"][..], &["apply"][..]),
        ("calicoctl", &["ipam", "sh"], &["show"]),
        ("calicoctl", &["node", "check"], &["checksystem"]),
        ("calicoctl", &["get", "ippo"], &["ippools"]),
        ("calicoctl", &["apply", "--file"], &["--filename"]),
        ("selvedge", &["node", "r"], &["run"]),
        ("selvedge", &["node", "dia"], &["diags"]),
        ("selvedge", &["speaker", "sh"], &["show"]),
        (
            "selvedge",
            &["node", "status", "--al"],
            &["--all", "--allow-version-mismatch"],
        ),
        (
            "calicoctl",
            &["node", "status", "--al"],
            &["--allow-version-mismatch"],
        ),
        ("selvedge", &["ipam", "coll"], &["collect"]),
        ("calicoctl", &["ipam", "coll"], &[]),
        ("calicoctl", &["cluster", "d"], &["diags"]),
        // The control.
        ("calicoctl", &["node", "xyz"], &[]),
    ] {
        assert_eq!(
            completed(folder, program, words),
            offered,
            "{program} {words:?}"
        );
    }
}

#[test]
fn each_command_has_a_page() {
    let folder = pages();
    let man = |name: &str| {
        fs::read_to_string(folder.path().join("man/man1").join(name))
            .unwrap_or_else(|e| panic!("{name}: {e}"))
    };
    assert!(man("calicoctl-ipam-show.1").contains("show\\-borrowed"));
    assert!(man("selvedge-node-run.1").contains("autodetection"));
    for page in [
        "calicoctl.1",
        "calicoctl-get.1",
        "selvedge.1",
        "selvedge-node-diags.1",
    ] {
        assert!(man(page).starts_with(".ie"), "{page} is roff");
    }
    for script in [
        "zsh/_calicoctl",
        "zsh/_selvedge",
        "fish/calicoctl.fish",
        "fish/selvedge.fish",
    ] {
        assert!(folder.path().join(script).is_file(), "{script}");
    }
}
