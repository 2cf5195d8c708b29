//! The control socket: a question on one line, an answer for people or for programs.

mod json;
mod table;

use crate::dump;
use crate::handle::Handle;
use anyhow::{Context, Result, bail};
use bgp::Family;
use ipnet::IpNet;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Tables and sentences, for people.
    #[default]
    Text,
    /// One JSON document, for programs.
    Json,
}

/// Before a question whose answer is wanted as JSON.
const JSON: &str = "json ";

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
pub fn show(socket: &Path, query: &Query, form: Form) -> Result<String> {
    let mut stream = UnixStream::connect(socket).with_context(|| {
        format!(
            "no speaker answers on {}; is `selvedge speaker run` up?",
            socket.display()
        )
    })?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let prefix = match form {
        Form::Text => "",
        Form::Json => JSON,
    };
    stream.write_all(format!("{prefix}{}", query.line()).as_bytes())?;
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
    if line == dump::QUESTION {
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        return dump::serve(&mut stream, handle);
    }
    let (form, question) = match line.strip_prefix(JSON) {
        Some(question) => (Form::Json, question),
        None => (Form::Text, &line[..]),
    };
    match Query::parse(question) {
        Ok(query) => tell(&mut stream, handle, &query, form),
        Err(error) => writeln!(stream, "error: {error:#}"),
    }
}

const STOPPED: &str = "the speaker has stopped";

/// All routes, in portions: no question holds the sessions up for long, and no answer takes memory for a whole table.
fn tell_routes(to: &mut impl Write, handle: &Handle, form: Form) -> std::io::Result<()> {
    let mut array = json::Array::default();
    if form == Form::Text {
        to.write_all(table::routes_head().as_bytes())?;
    }
    for family in Family::ALL {
        let Some(prefixes) = handle.prefixes(family) else {
            return writeln!(to, "error: {STOPPED}");
        };
        for prefixes in prefixes.chunks(1000) {
            let Some(all) = handle.explain(prefixes.to_vec()) else {
                return writeln!(to, "error: {STOPPED}");
            };
            let text = match form {
                Form::Text => all.iter().map(table::route).collect(),
                Form::Json => array.portion(&all),
            };
            to.write_all(text.as_bytes())?;
        }
    }
    match form {
        Form::Text => Ok(()),
        Form::Json => to.write_all(array.end().as_bytes()),
    }
}

fn tell(to: &mut impl Write, handle: &Handle, query: &Query, form: Form) -> std::io::Result<()> {
    let peers = || handle.status().map(|status| status.peers);
    let text = match query {
        Query::Routes => return tell_routes(to, handle, form),
        Query::Neighbors => peers().map(|peers| match form {
            Form::Text => table::neighbors(&peers),
            Form::Json => json::neighbors(&peers),
        }),
        Query::Explain(prefix) => handle.explain(vec![*prefix]).map(|all| match form {
            Form::Text => all.iter().map(table::explanation).collect(),
            Form::Json => json::explanations(&all),
        }),
        Query::Reset { peer, text } => peers().map(|peers| {
            if !peers.iter().any(|known| *known.name == **peer) {
                return format!("error: there is no neighbor {peer}\n");
            }
            handle.reset(peer, text);
            format!("the session with {peer} was reset\n")
        }),
    };
    let text = text.unwrap_or_else(|| format!("error: {STOPPED}\n"));
    to.write_all(text.as_bytes())
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
