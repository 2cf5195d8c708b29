//! Writes to an SQLite store and says each write once it is acknowledged; or says whether a store has what was said.
//! `scripts/test-power-cut` runs it in a guest whose power is cut.
//!
//! ```text
//! acknowledged_writes write FILE WRITER ROUNDS
//! acknowledged_writes check FILE SAID
//! ```

use std::io::Write;
use std::process::ExitCode;

use store::SqliteStore;

#[path = "../tests/acknowledged/mod.rs"]
mod acknowledged;
use acknowledged::{Content, Writer, check, prepare};

const WRITERS: u64 = 4;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["write", file, writer, rounds] => match (writer.parse(), rounds.parse()) {
            (Ok(number), Ok(rounds)) if number < WRITERS => write(file, number, rounds),
            _ => usage(),
        },
        ["check", file, said] => held_against(file, said),
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("acknowledged_writes write FILE WRITER(0 to 3) ROUNDS | check FILE SAID");
    ExitCode::from(2)
}

fn write(file: &str, number: u64, rounds: u64) -> ExitCode {
    let store = SqliteStore::open(file).expect("the store opens");
    prepare(&store, WRITERS);
    // One write a line: several writers share a console.
    Writer { run: 0, number }.write(&store, rounds, |line| {
        let line = format!("{line}\n");
        std::io::stdout()
            .write_all(line.as_bytes())
            .expect("a console");
    });
    ExitCode::SUCCESS
}

fn held_against(file: &str, said: &str) -> ExitCode {
    let said = std::fs::read_to_string(said).expect("what was said");
    let said: Vec<String> = said
        .lines()
        .map(|line| line.trim_end().to_string())
        .collect();
    let store = SqliteStore::open(file).expect("the store opens");
    let verdict = check(&store, Content::default(), &said);
    println!(
        "verdict: acknowledged {} written {} lost {} half {}",
        verdict.acknowledged,
        verdict.written,
        verdict.lost.len(),
        verdict.half.len()
    );
    for line in verdict.lost.iter().chain(&verdict.half).take(5) {
        println!("{line}");
    }
    ExitCode::from(u8::from(
        !verdict.lost.is_empty() || !verdict.half.is_empty(),
    ))
}
