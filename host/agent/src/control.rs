//! The control sockets, one a family, as Calico's BIRDs have them.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::bird_socket::{View, answer, greeting};
use crate::event::now;

/// A client that says nothing for this long is let go.
const IDLE: Duration = Duration::from_secs(60);
/// No command is longer.
const LINE: u64 = 4096;

/// The speaker, once there is one.
pub(crate) type SharedSpeaker = Rc<RefCell<Option<Arc<speaker::Handle>>>>;

/// A socket that is removed with its owner.
#[derive(Debug)]
pub(crate) struct Control(PathBuf);

impl Drop for Control {
    fn drop(&mut self) {
        // Gone already is well.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Serves a family's socket in this runtime until the returned value is dropped.
pub(crate) fn serve(directory: &Path, ipv6: bool, speaker: &SharedSpeaker) -> Result<Control> {
    let path = directory.join(if ipv6 { "bird6.ctl" } else { "bird.ctl" });
    // The lock says that no other agent of ours is there; what is left is a dead one's.
    let _ = std::fs::remove_file(&path);
    let listener =
        UnixListener::bind(&path).with_context(|| format!("opening {}", path.display()))?;
    let speaker = Rc::clone(speaker);
    let started = now().wall;
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let speaker = Rc::clone(&speaker);
            tokio::task::spawn_local(async move {
                // A client's errors concern only the client.
                let _ = timeout(IDLE, converse(stream, ipv6, &speaker, started)).await;
            });
        }
    });
    Ok(Control(path))
}

async fn converse(
    stream: UnixStream,
    ipv6: bool,
    speaker: &SharedSpeaker,
    started: Duration,
) -> std::io::Result<()> {
    use tokio::io::AsyncReadExt;
    let (read, mut write) = stream.into_split();
    write.write_all(greeting().as_bytes()).await?;
    let mut lines = BufReader::new(read.take(LINE)).lines();
    while let Some(line) = lines.next_line().await? {
        let snapshot = speaker.borrow().as_ref().and_then(|s| s.status());
        let router_id = snapshot
            .as_ref()
            .map_or_else(String::new, |s| s.config.router_id.to_string());
        let peers = snapshot.map(|s| s.peers).unwrap_or_default();
        let view = View {
            peers: &peers,
            ipv6,
            router_id,
            started,
            wall: now().wall,
        };
        write.write_all(answer(&line, &view).as_bytes()).await?;
    }
    Ok(())
}
