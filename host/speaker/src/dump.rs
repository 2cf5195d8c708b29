//! The RIBs as an MRT table dump, through the control socket.
//!
//! The answer is chunks, each behind its length in four octets, and an empty one at the end: a
//! speaker that ends half-way leaves no file that looks whole.

use crate::handle::Handle;
use anyhow::{Context, Result, bail, ensure};
use bgp::RibCursor;
use monitor::mrt::PeerIndex;
use std::io::{BufWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The question's line.
pub(crate) const QUESTION: &str = "dump-mrt\n";
/// Nets looked at before the speaker goes on with its work.
pub(crate) const SLICE: usize = 1024;
/// No chunk is greater.
const GREATEST: u32 = 64 << 20;

/// Answers on a control connection.
///
/// # Errors
/// When whoever asked reads no more.
pub(crate) fn serve(stream: &mut UnixStream, handle: &Handle) -> std::io::Result<()> {
    let mut begun = false;
    let whole = write_table(handle, &mut |octets| {
        begun = true;
        stream.write_all(&(octets.len() as u32).to_be_bytes())?;
        stream.write_all(octets)
    })?;
    match (whole, begun) {
        (true, _) => stream.write_all(&[0; 4]),
        (false, false) => stream.write_all(b"error: the speaker has stopped\n"),
        (false, true) => Ok(()),
    }
}

/// Hands the table out in parts. False when the speaker ends before the table does.
///
/// # Errors
/// Those of `write`.
pub(crate) fn write_table(
    handle: &Handle,
    write: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<bool> {
    let snapshot = handle.status().zip(handle.sessions());
    let Some((status, sessions)) = snapshot else {
        return Ok(false);
    };
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let time_s = time.unwrap_or_default().as_secs() as u32;
    let config = &status.config;
    let index = PeerIndex::new(config.router_id, config.local_as.0, &sessions);
    let mut out = Vec::new();
    index.write(time_s, &mut out);
    let (mut sequence, mut from) = (0, Some(RibCursor::default()));
    while let Some(place) = from {
        let Some(slice) = handle.rib_slice(place, SLICE) else {
            return Ok(false);
        };
        sequence = index.write_slice(&slice, time_s, sequence, &mut out);
        from = slice.next;
        if !out.is_empty() {
            write(&out)?;
            out.clear();
        }
    }
    Ok(true)
}

/// Writes the table of the speaker behind a control socket to a file, as MRT TABLE_DUMP_V2 (RFC
/// 6396). Returns the file's size in octets. The file appears when it is whole.
///
/// # Errors
/// When nobody listens there, the speaker ends meanwhile, or the file cannot be written.
pub fn dump(control: &Path, file: &Path, mut progress: impl FnMut(u64)) -> Result<u64> {
    let mut stream = UnixStream::connect(control).with_context(|| {
        format!(
            "no speaker listens on {} (is `selvedge speaker run` running?)",
            control.display()
        )
    })?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(QUESTION.as_bytes())?;
    let mut name = file.as_os_str().to_owned();
    name.push(".part");
    let part = Path::new(&name);
    let written = receive(&mut stream, part, &mut progress);
    let renamed = written.and_then(|size| {
        let what = || format!("cannot write {}", file.display());
        std::fs::rename(part, file).with_context(what)?;
        Ok(size)
    });
    if renamed.is_err() {
        // There may be none.
        let _ = std::fs::remove_file(part);
    }
    renamed
}

fn receive(stream: &mut UnixStream, part: &Path, progress: &mut dyn FnMut(u64)) -> Result<u64> {
    let what = || format!("cannot write {}", part.display());
    let mut out = BufWriter::new(std::fs::File::create(part).with_context(what)?);
    let mut size = 0;
    loop {
        let mut head = [0; 4];
        stream
            .read_exact(&mut head)
            .context("the speaker ended before the table did")?;
        if &head == b"erro" {
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            bail!("{}", text.trim_start_matches("r: ").trim());
        }
        let length = u32::from_be_bytes(head);
        ensure!(length <= GREATEST, "the speaker sent something else");
        if length == 0 {
            break;
        }
        let copied = std::io::copy(&mut stream.take(length.into()), &mut out).with_context(what)?;
        ensure!(
            copied == u64::from(length),
            "the speaker ended before the table did"
        );
        size += copied;
        progress(size);
    }
    out.flush().with_context(what)?;
    Ok(size)
}
