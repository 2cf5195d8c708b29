//! The control socket: a question on one line, an answer in text.

use crate::handle::Handle;
use anyhow::{Context, Result, bail};
use bgp::{Explanation, Family, PathInfo, PathStanding, PeerStatus};
use ipnet::IpNet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// All peers and their states.
    Neighbors,
    /// The best path of each prefix.
    Routes,
    /// All paths of a prefix and why each won or lost.
    Explain(IpNet),
    /// Restart the session with a peer, and tell its operator why (RFC 9003).
    Reset {
        /// The peer's name.
        peer: String,
        /// One line, or nothing.
        text: String,
    },
}

impl Query {
    fn line(&self) -> String {
        match self {
            Query::Neighbors => "neighbors\n".to_owned(),
            Query::Routes => "routes\n".to_owned(),
            Query::Explain(prefix) => format!("explain {prefix}\n"),
            Query::Reset { peer, text } => format!("reset\t{peer}\t{text}\n"),
        }
    }

    fn parse(line: &str) -> Result<Self> {
        if let ["reset", peer, text] = line
            .trim_end_matches('\n')
            .splitn(3, '\t')
            .collect::<Vec<_>>()[..]
        {
            let (peer, text) = (peer.to_owned(), text.to_owned());
            return Ok(Query::Reset { peer, text });
        }
        Ok(match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["neighbors"] => Query::Neighbors,
            ["routes"] => Query::Routes,
            ["explain", prefix] => {
                let parsed = prefix.parse();
                Query::Explain(parsed.with_context(|| format!("{prefix} is no prefix"))?)
            }
            _ => bail!("unknown question: {}", line.trim()),
        })
    }
}

/// Asks a running speaker and returns its answer.
///
/// # Errors
/// When nobody listens on the socket, or the speaker refuses the question.
pub fn show(socket: &Path, query: &Query) -> Result<String> {
    let mut stream = UnixStream::connect(socket).with_context(|| {
        format!(
            "no speaker answers on {}; is `selvedge speaker run` up?",
            socket.display()
        )
    })?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(query.line().as_bytes())?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .context("the speaker did not answer")?;
    match answer.strip_prefix("error: ") {
        Some(error) => bail!("{}", error.trim()),
        None => Ok(answer),
    }
}

/// Opens the socket, taking over one that a dead speaker left behind.
pub(crate) fn listen(path: &Path) -> Result<UnixListener> {
    let what = || format!("cannot open the control socket {}", path.display());
    if UnixStream::connect(path).is_ok() {
        bail!("{}: another speaker is using it", what());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(what)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(what);
        }
        Ok(()) | Err(_) => {}
    }
    UnixListener::bind(path).with_context(what)
}

/// Answers questions, one connection at a time, until the process ends.
pub(crate) fn serve(listener: &UnixListener, handle: &Handle) {
    for stream in listener.incoming() {
        let answered = stream.and_then(|stream| answer(stream, handle));
        if let Err(error) = answered {
            tracing::debug!("control connection: {error}");
        }
    }
}

fn answer(mut stream: UnixStream, handle: &Handle) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    let mut line = String::new();
    BufReader::new(&stream).take(4096).read_line(&mut line)?;
    let text = Query::parse(&line)
        .and_then(|query| tell(handle, &query).context("the speaker has stopped"))
        .unwrap_or_else(|error| format!("error: {error:#}\n"));
    stream.write_all(text.as_bytes())
}

fn tell(handle: &Handle, query: &Query) -> Option<String> {
    Some(match query {
        Query::Neighbors => neighbors(&handle.status()?.peers),
        Query::Explain(prefix) => handle
            .explain(vec![*prefix])?
            .iter()
            .map(explanation)
            .collect(),
        Query::Reset { peer, text } => {
            let peers = handle.status()?.peers;
            if !peers.iter().any(|known| *known.name == **peer) {
                return Some(format!("error: there is no neighbor {peer}\n"));
            }
            handle.reset(peer, text);
            format!("the session with {peer} was reset\n")
        }
        Query::Routes => {
            let mut out = table_row(
                ROUTE_WIDTHS,
                &["PREFIX", "NEXT HOP", "PEER", "LOCAL_PREF", "AS_PATH"],
            );
            for family in Family::ALL {
                for prefixes in handle.prefixes(family)?.chunks(1000) {
                    for explained in handle.explain(prefixes.to_vec())? {
                        out += &route(&explained);
                    }
                }
            }
            out
        }
    })
}

const NEIGHBOR_WIDTHS: [usize; 6] = [24, 22, 10, 8, 8, 10];
const ROUTE_WIDTHS: [usize; 6] = [20, 18, 24, 10, 10, 10];

fn table_row(widths: [usize; 6], cells: &[&str]) -> String {
    let mut out = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let _ = write!(out, "{cell:<width$} ");
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn neighbors(peers: &[PeerStatus]) -> String {
    let mut out = table_row(
        NEIGHBOR_WIDTHS,
        &["NAME", "ADDRESS", "AS", "ROUTES", "REJECTED", "INFO"],
    );
    for peer in peers {
        out += &table_row(
            NEIGHBOR_WIDTHS,
            &[
                &peer.name,
                &peer.remote.to_string(),
                &peer.remote_as.to_string(),
                &peer.received.to_string(),
                &peer.rejected.to_string(),
                &info(peer),
            ],
        );
    }
    out
}

/// The state, and in parentheses what one should know of it.
fn info(peer: &PeerStatus) -> String {
    if peer.notes.is_empty() {
        return peer.info();
    }
    format!("{} ({})", peer.info(), peer.notes.join(", "))
}

fn hop(path: &PathInfo) -> String {
    path.next_hop
        .map_or_else(|| "self".to_owned(), |hop| hop.address.to_string())
}

fn peer_name(path: &PathInfo) -> &str {
    path.peer.as_ref().map_or("local", |name| Arc::as_ref(name))
}

fn route(explained: &Explanation) -> String {
    match explained
        .paths
        .first()
        .filter(|path| path.standing == PathStanding::Best)
    {
        Some(best) => table_row(
            ROUTE_WIDTHS,
            &[
                &explained.prefix.to_string(),
                &hop(best),
                peer_name(best),
                &best.local_pref.to_string(),
                &best.as_path,
            ],
        ),
        None => String::new(),
    }
}

fn explanation(explained: &Explanation) -> String {
    let mut out = format!("{}\n", explained.prefix);
    if explained.paths.is_empty() {
        out += "  no path\n";
    }
    for path in &explained.paths {
        let verdict = match path.standing {
            PathStanding::Best => "best".to_owned(),
            PathStanding::Lost(reason) => match &path.rule {
                Some(rule) => format!("lost: {reason} ({rule})"),
                None => format!("lost: {reason}"),
            },
        };
        let _ = write!(
            out,
            "  {verdict}\n    via {} from {}",
            hop(path),
            peer_name(path)
        );
        let _ = write!(
            out,
            ", local_pref {}, origin {}",
            path.local_pref, path.origin
        );
        let _ = write!(out, ", as_path [{}]", path.as_path);
        if let Some(id) = path.path_id {
            let _ = write!(out, ", path id {id}");
        }
        if let Some(med) = path.med {
            let _ = write!(out, ", med {med}");
        }
        if let Some(originator) = path.originator_id {
            let clusters: Vec<String> = path.cluster_list.iter().map(ToString::to_string).collect();
            let _ = write!(
                out,
                ", originator {originator}, clusters [{}]",
                clusters.join(" ")
            );
        }
        if !path.communities.is_empty() {
            let _ = write!(out, ", communities [{}]", path.communities.join(" "));
        }
        out += if path.stale { ", stale\n" } else { "\n" };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_round_trip() {
        let prefix = "fd00::/64".parse().expect("prefix");
        let reset = |text: &str| Query::Reset {
            peer: "top of rack".to_owned(),
            text: text.to_owned(),
        };
        let plain = [Query::Neighbors, Query::Routes, Query::Explain(prefix)];
        for query in plain.into_iter().chain([reset("new cable"), reset("")]) {
            assert_eq!(Query::parse(&query.line()).expect("valid"), query);
        }
        assert!(Query::parse("explain everything").is_err());
        assert!(Query::parse("reboot").is_err());
    }
}
