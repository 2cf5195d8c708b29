//! The sessions for people.

use crate::client::{Line, converse};
use crate::message::{FromLiveness, Report, ToLiveness};
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// Asks a running process for everything.
///
/// # Errors
/// When nobody listens on the socket, or it does not answer.
pub fn show(socket: &Path) -> Result<Report> {
    let mut stream = converse(socket, Duration::from_secs(10)).with_context(|| {
        format!(
            "no liveness process answers on {}; is BFD configured, and its owner running?",
            socket.display()
        )
    })?;
    stream.say(&ToLiveness::Show)?;
    loop {
        match stream.hear()? {
            Some(Line::Known(FromLiveness::Report(report))) => return Ok(report),
            Some(Line::Known(_) | Line::Unknown) => {}
            None => bail!("the liveness process ended while it was asked"),
        }
    }
}

/// A table, one session a line, and what is wrong beneath.
pub fn table(report: &Report) -> String {
    let mut rows = vec![
        [
            "NEIGHBOUR",
            "HOPS",
            "STATE",
            "FOR",
            "TX",
            "RX",
            "DETECTION",
            "LAST DOWN",
        ]
        .map(str::to_owned),
    ];
    for session in &report.sessions {
        rows.push([
            session.remote.to_string(),
            if session.multihop { "multi" } else { "single" }.to_owned(),
            session.state.clone(),
            age(session.state_for_ms),
            millis(session.transmit_interval_us),
            millis(session.receive_interval_us),
            millis(session.detection_time_us),
            session.last_reason.clone().unwrap_or_default(),
        ]);
    }
    let mut widths = [0; 8];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        out += line.trim_end();
        out.push('\n');
    }
    for session in &report.sessions {
        if let Some(error) = &session.send_error {
            let _ = writeln!(out, "bfd-send: {}: {error}", session.remote);
        }
    }
    for refused in &report.refused {
        let _ = writeln!(out, "{refused}");
    }
    for (why, count) in &report.discarded {
        let _ = writeln!(out, "discarded: {why}: {count}");
    }
    out
}

fn millis(us: u64) -> String {
    match us {
        0 => "-".to_owned(),
        us if us % 1000 == 0 => format!("{} ms", us / 1000),
        us => format!("{us} us"),
    }
}

fn age(ms: u64) -> String {
    let s = ms / 1000;
    match (s / 3600, s / 60 % 60, s % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s:02}s"),
        (h, m, _) => format!("{h}h{m:02}m"),
    }
}
