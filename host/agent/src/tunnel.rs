//! The address of a tunnel device: taken from IPAM, written to the Node (calico-compat §7.6).

use std::net::Ipv4Addr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use ipam::{Ipam, TunnelKind};
use resource::kinds::{Node, NodeSpec};
use resource::{Metadata, Store};
use store::{AnyStore, block_on};

use crate::event::{Event, ToLoop, now};
use crate::startup::change;

/// After a failure it is tried again after this long; a new request comes at once.
const RETRY: Duration = Duration::from_secs(2);

/// Starts the thread; each message makes it look after the address again.
pub(crate) fn spawn(
    store: AnyStore,
    node: String,
    to_loop: ToLoop,
) -> Result<Sender<Option<Ipv4Addr>>> {
    let (sender, requests): (Sender<Option<Ipv4Addr>>, Receiver<_>) = channel();
    let body = move || {
        let mut said: Option<String> = None;
        while let Ok(mut present) = requests.recv() {
            loop {
                let result = block_on(ensure(&store, &node, present));
                let text = result.err().map(|error| format!("{error:#}"));
                if text != said && !to_loop.send(Event::Tunnel(text.clone())) {
                    return;
                }
                said = text;
                if said.is_none() {
                    break;
                }
                match requests.recv_timeout(RETRY) {
                    Ok(newer) => present = newer,
                    Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                    Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return,
                }
            }
        }
    };
    thread::Builder::new()
        .name("tunnel-address".to_string())
        .spawn(body)
        .context("starting a thread")?;
    Ok(sender)
}

async fn ensure<S: Store>(store: &S, name: &str, present: Option<Ipv4Addr>) -> Result<()> {
    let nanoseconds = u64::try_from(now().wall.as_nanos()).unwrap_or(u64::MAX);
    let address = Ipam::new(store)
        .ensure_tunnel_address(name, TunnelKind::Ipip, present.map(Into::into), nanoseconds)
        .await
        .context("tunnel-address: taking an address for tunl0")?;
    let text = address
        .map(|address| address.to_string())
        .unwrap_or_default();
    let absent = Node::new(Metadata::named(name), NodeSpec::default());
    change(store, absent, |node| {
        // A Node without BGP has no place for it; `node run` writes that part.
        if let Some(bgp) = &mut node.spec.bgp {
            bgp.ipv4_ipip_tunnel_addr.clone_from(&text);
        }
        Ok(())
    })
    .await
    .context("tunnel-address: writing it to the Node")
}
