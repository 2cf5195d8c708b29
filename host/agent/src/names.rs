//! The sockets on which the cluster's zone is served, in a thread of their own.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use dns::{Server, Transport, Zone, ZoneConfig};
use node::Names;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::{sleep, timeout};

use crate::event::{Event, ToLoop};

/// A socket that cannot be bound is tried again after this long.
const RETRY: Duration = Duration::from_secs(1);
/// A TCP client that says nothing for this long is let go (RFC 7766 §6.2.3).
const TCP_IDLE: Duration = Duration::from_secs(10);
/// TCP clients at a time, on one socket.
const TCP_CLIENTS: usize = 256;
/// The greatest message (RFC 1035 §4.2.2).
const MESSAGE: usize = 65_535;

type Shared = Rc<RefCell<Server>>;

/// The server and what its zone was made of.
struct Serving {
    config: ZoneConfig,
    table: Arc<service::Table>,
    server: Shared,
}

/// Starts the thread; it serves what the channel says last.
pub(crate) fn spawn(names: watch::Receiver<Option<Names>>, to_loop: ToLoop) -> Result<()> {
    let body = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        match runtime {
            Ok(runtime) => LocalSet::new().block_on(&runtime, follow(names, to_loop)),
            Err(error) => {
                to_loop.send(Event::Say(true, format!("names-not-served: {error}")));
            }
        }
    };
    std::thread::Builder::new()
        .name("names".to_string())
        .spawn(body)
        .map(drop)
        .context("starting the thread names")
}

async fn follow(mut names: watch::Receiver<Option<Names>>, to_loop: ToLoop) {
    let mut serving: Option<Serving> = None;
    let mut sockets: BTreeMap<SocketAddr, [JoinHandle<()>; 2]> = BTreeMap::new();
    loop {
        let wanted = names.borrow_and_update().clone();
        if let Some(wanted) = wanted {
            match updated(serving.take(), &wanted) {
                Ok(now) => serving = Some(now),
                Err(error) => {
                    let text = format!(
                        "domain-invalid: the domain '{}': {error}. Mend the annotation {} of the DNS Service.",
                        wanted.domain,
                        intent::DNS_DOMAIN_ANNOTATION
                    );
                    say(&to_loop, true, text).await;
                }
            }
            sockets.retain(|address, tasks| {
                let stays = serving.is_some() && wanted.listen.contains(address);
                if !stays {
                    tasks.iter().for_each(JoinHandle::abort);
                }
                stays
            });
            if let Some(serving) = &serving {
                for address in &wanted.listen {
                    sockets.entry(*address).or_insert_with(|| {
                        let udp = serve_udp(*address, Rc::clone(&serving.server), to_loop.clone());
                        let tcp = serve_tcp(*address, Rc::clone(&serving.server), to_loop.clone());
                        [tokio::task::spawn_local(udp), tokio::task::spawn_local(tcp)]
                    });
                }
            }
        }
        if names.changed().await.is_err() {
            return;
        }
    }
}

async fn say(to_loop: &ToLoop, warning: bool, text: String) {
    to_loop.send_async(Event::Say(warning, text)).await;
}

/// The server brought up to what is wanted, in place, so that its sockets go on.
fn updated(serving: Option<Serving>, wanted: &Names) -> Result<Serving, dns::ZoneError> {
    let mut config = ZoneConfig {
        domain: wanted.domain.clone(),
        reverse: wanted.reverse.iter().copied().collect(),
        nameservers: wanted.addresses.iter().copied().collect(),
        serial: serving.as_ref().map_or(1, |serving| serving.config.serial),
    };
    let server = match serving {
        None => Rc::new(RefCell::new(Server::new(Zone::build(
            &config,
            &wanted.table,
        )?))),
        Some(serving) if serving.config == config => {
            let diff = serving.table.diff(&wanted.table);
            config.serial += u32::from(!diff.is_empty());
            serving
                .server
                .borrow_mut()
                .zone_mut()
                .update(&wanted.table, &diff, config.serial);
            serving.server
        }
        Some(serving) => {
            config.serial += 1;
            serving
                .server
                .borrow_mut()
                .set_zone(Zone::build(&config, &wanted.table)?);
            serving.server
        }
    };
    Ok(Serving {
        config,
        table: Arc::clone(&wanted.table),
        server,
    })
}

/// Says once that a socket cannot be bound, and once that it can.
async fn bound<S, F: Future<Output = std::io::Result<S>>>(
    what: &str,
    address: SocketAddr,
    to_loop: &ToLoop,
    bind: impl Fn() -> F,
) -> S {
    let mut failing = false;
    loop {
        match bind().await {
            Ok(socket) => {
                if failing {
                    say(to_loop, false, format!("DNS is served on {what} {address}")).await;
                }
                return socket;
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    let text = format!(
                        "dns-socket: {what} {address}: {error}. It is tried again each second; see `ss -lnp` for who has it."
                    );
                    say(to_loop, true, text).await;
                }
                sleep(RETRY).await;
            }
        }
    }
}

async fn serve_udp(address: SocketAddr, server: Shared, to_loop: ToLoop) {
    let socket = bound("udp", address, &to_loop, || UdpSocket::bind(address)).await;
    let mut query = vec![0; MESSAGE];
    loop {
        // An error here is an ICMP answer to an earlier reply; the next query is unaffected.
        let Ok((length, client)) = socket.recv_from(&mut query).await else {
            continue;
        };
        let reply = server.borrow().answer(&query[..length], Transport::Udp);
        if let Some(reply) = reply {
            let _ = socket.send_to(&reply, client).await;
        }
    }
}

async fn serve_tcp(address: SocketAddr, server: Shared, to_loop: ToLoop) {
    let listener = bound("tcp", address, &to_loop, || TcpListener::bind(address)).await;
    let clients = Arc::new(Semaphore::new(TCP_CLIENTS));
    loop {
        let Ok(place) = Arc::clone(&clients).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let server = Rc::clone(&server);
                tokio::task::spawn_local(async move {
                    // A client's errors concern only the client.
                    let _ = converse(stream, &server).await;
                    drop(place);
                });
            }
            // Out of descriptors: the clients that are there end some time.
            Err(_) => sleep(RETRY).await,
        }
    }
}

async fn converse(mut stream: TcpStream, server: &Shared) -> std::io::Result<()> {
    loop {
        let length = timeout(TCP_IDLE, stream.read_u16()).await??;
        let mut query = vec![0; usize::from(length)];
        timeout(TCP_IDLE, stream.read_exact(&mut query)).await??;
        let reply = server.borrow().answer(&query, Transport::Tcp);
        let Some(reply) = reply else { return Ok(()) };
        let Ok(length) = u16::try_from(reply.len()) else {
            return Ok(());
        };
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend(reply);
        timeout(TCP_IDLE, stream.write_all(&framed)).await??;
    }
}
