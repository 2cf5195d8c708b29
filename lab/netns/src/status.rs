//! What a lab consists of right now.

use std::fmt::Write;

use anyhow::Result;

use crate::join::read_plan;
use crate::state::{Record, State};

/// Hosts with their addresses and what was started there, read from the lab itself.
pub fn status(state: &State, record: &Record) -> Result<String> {
    let dir = state.dir(&record.lab);
    let plan = read_plan(&dir)?;
    let place = if record.in_user_namespace {
        "in a user namespace"
    } else {
        "as root"
    };
    let mut text = format!(
        "lab {}  scenario {}  {place}  up in {} ms\n",
        record.lab, record.scenario, record.up_ms
    );
    let script = "cd /run/lab; for f in *.pid; do [ -e $f ] || continue; p=$(cat $f); kill -0 $p 2>/dev/null && s=up || s=ended; printf '%s(%s) ' ${f%.pid} $s; done";
    for host in &plan.hosts {
        let cables: Vec<String> = host
            .nics
            .iter()
            .map(|nic| format!("{} {} on {}", nic.name, nic.address, nic.lan))
            .collect();
        let programs =
            crate::lab::shell_in(&dir, &host.name, script, std::time::Duration::from_secs(5))?.text;
        let _ = writeln!(
            text,
            "  {:15} {:10} {:42} {}",
            host.name,
            host.role,
            cables.join(", "),
            programs.trim()
        );
    }
    Ok(text)
}
