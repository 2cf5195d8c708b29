//! What a BIRD 1.x control socket says of BGP sessions.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A conversation with a BIRD, or with what speaks as one does.
#[derive(Debug)]
pub struct Control {
    stream: BufReader<UnixStream>,
    /// The line it greets with: `0001 BIRD 1.6.8 ready.`
    pub greeting: String,
}

/// One BGP session, as `node status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Address.
    pub address: String,
    /// `node-to-node mesh`, `node specific` or `global`.
    pub kind: &'static str,
    /// BIRD's protocol state: `up`, `start`, `down`.
    pub state: String,
    /// Since when, as BIRD says it.
    pub since: String,
    /// The BGP state, and why.
    pub info: String,
}

impl Control {
    /// Connects and reads the greeting.
    ///
    /// # Errors
    /// The socket's; an answer must come within five seconds.
    pub fn open(path: &Path) -> io::Result<Control> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut stream = BufReader::new(stream);
        let mut greeting = String::new();
        stream.read_line(&mut greeting)?;
        Ok(Control { stream, greeting })
    }

    /// The BGP sessions that Calico's names stand for.
    ///
    /// # Errors
    /// The socket's, or an answer that is none.
    pub fn peers(&mut self, separator: char) -> io::Result<Vec<Peer>> {
        self.stream.get_mut().write_all(b"show protocols\n")?;
        let mut peers = Vec::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the connection ended within an answer",
                ));
            }
            let line = line.trim_end_matches('\n');
            match line.split_at_checked(4) {
                Some(("0000", _)) => return Ok(peers),
                Some(("0001" | "2002", _)) => {}
                Some(("1002", rest)) => peers.extend(peer(rest.get(1..).unwrap_or(""), separator)),
                _ if line.starts_with(' ') => peers.extend(peer(line, separator)),
                _ => {
                    return Err(io::Error::other(format!(
                        "unexpected output line from BIRD: '{line}'"
                    )));
                }
            }
        }
    }
}

/// A row of `name proto table state since info`, if it is a session of a name that Calico gives.
fn peer(row: &str, separator: char) -> Option<Peer> {
    let columns: Vec<&str> = row.split_whitespace().collect();
    let [name, "BGP", _table, state, since, info @ ..] = columns.as_slice() else {
        return None;
    };
    let (kind, address) = name.split_once('_')?;
    let kind = match kind {
        "Mesh" => "node-to-node mesh",
        "Node" => "node specific",
        "Global" => "global",
        _ => return None,
    };
    if info.is_empty() {
        return None;
    }
    Some(Peer {
        address: address.replace('_', &separator.to_string()),
        kind,
        state: (*state).to_string(),
        since: (*since).to_string(),
        info: info.join(" "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(row: &str, expected: Option<[&str; 5]>) {
        let found =
            peer(row, '.').map(|p| [p.address, p.kind.to_string(), p.state, p.since, p.info]);
        assert_eq!(found, expected.map(|e| e.map(String::from)), "{row}");
    }

    #[test]
    fn rows_of_sessions_are_told_from_others() {
        check(
            "Mesh_10_0_0_2 BGP      master   up     22:10:05    Established   ",
            Some([
                "10.0.0.2",
                "node-to-node mesh",
                "up",
                "22:10:05",
                "Established",
            ]),
        );
        check(
            " Global_192_0_2_1 BGP master start 22:10:05 Active        Socket: Connection refused",
            Some([
                "192.0.2.1",
                "global",
                "start",
                "22:10:05",
                "Active Socket: Connection refused",
            ]),
        );
        check(
            "Node_10_0_0_9_port_1790 BGP master start 2026-11-20 Connect",
            Some([
                "10.0.0.9.port.1790",
                "node specific",
                "start",
                "2026-11-20",
                "Connect",
            ]),
        );
        check("kernel1  Kernel   master   up     22:10:05  ", None);
        check(
            "Local_Workload_10_0_0_9 BGP master up 22:10:05 Established",
            None,
        );
        check("Mesh_10_0_0_2 BGP master up 22:10:05", None);
    }
}
