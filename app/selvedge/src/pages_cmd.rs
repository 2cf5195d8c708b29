//! `selvedge pages`: completion for shells and man pages, made from the same tables as the commands' own help.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::builder::PossibleValuesParser;
use clap::{Arg, Args, Command};
use clap_complete::Shell;

/// Writes bash-completion/, zsh/, fish/ and man/man1/ below a folder, for `selvedge` and `calicoctl`.
#[derive(Debug, Args)]
pub struct PagesArgs {
    /// The folder; made where it is not there.
    folder: PathBuf,
}

/// Writes them.
///
/// # Errors
/// A file cannot be written.
pub fn run(args: &PagesArgs, own: Command) -> Result<()> {
    let selvedge = with_resource_commands(own, ctl::Persona::Selvedge);
    let calicoctl = Command::new("calicoctl")
        .about("Calico's resources, nodes and addresses, from the command line");
    let calicoctl = with_resource_commands(calicoctl, ctl::Persona::Calicoctl);
    for command in [selvedge, calicoctl] {
        completion(&command, &args.folder)?;
        man_pages(command, &args.folder.join("man/man1"))?;
    }
    Ok(())
}

/// The command with those of `ctl` below it, which read their lines themselves.
fn with_resource_commands(mut command: Command, persona: ctl::Persona) -> Command {
    for line in ctl::command_lines(persona) {
        let mut below =
            Command::new(*line.words.last().expect("a command has a word")).about(line.purpose);
        let mut seen: Vec<&str> = Vec::new();
        for (long, short, value, meaning) in line.options {
            // A second letter for the same option.
            if seen.contains(&long) {
                below = below.mut_arg(long, |option| match short {
                    Some(letter) => option.visible_short_alias(letter),
                    None => option,
                });
                continue;
            }
            seen.push(long);
            let mut option = Arg::new(long).long(long).help(meaning);
            option = match short {
                Some(letter) => option.short(letter),
                None => option,
            };
            below = below.arg(if value {
                option.value_name("VALUE")
            } else {
                option.num_args(0)
            });
        }
        if line.takes_kind {
            let kinds = resource::Kind::ALL.iter().map(|kind| kind.plural());
            below = below
                .arg(Arg::new("KIND").value_parser(PossibleValuesParser::new(kinds)))
                .arg(Arg::new("NAME").num_args(0..));
        }
        let (_, groups) = line.words.split_last().expect("a command has a word");
        command = add(command, groups, below);
    }
    command
}

/// Adds a command below these groups, unless it is there already: ours have more below them.
fn add(command: Command, groups: &[&'static str], below: Command) -> Command {
    match groups {
        [] if command.find_subcommand(below.get_name()).is_some() => command,
        [] => command.subcommand(below),
        [group, groups @ ..] => {
            command.mut_subcommand(*group, |command| add(command, groups, below))
        }
    }
}

fn completion(command: &Command, folder: &Path) -> Result<()> {
    let name = command.get_name().to_string();
    for (shell, place) in [
        (Shell::Bash, "bash-completion"),
        (Shell::Zsh, "zsh"),
        (Shell::Fish, "fish"),
    ] {
        let place = folder.join(place);
        make(&place)?;
        clap_complete::generate_to(shell, &mut command.clone(), &name, &place)
            .with_context(|| format!("cannot write to {}", place.display()))?;
    }
    Ok(())
}

/// `selvedge-ipam-show.1`, as git's pages are named.
fn man_pages(command: Command, folder: &Path) -> Result<()> {
    make(folder)?;
    clap_mangen::generate_to(command.disable_help_subcommand(true), folder)
        .with_context(|| format!("cannot write to {}", folder.display()))
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))
}
