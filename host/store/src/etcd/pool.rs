//! The endpoints: one connection, made when it is needed, to whichever member answers first.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderValue, Uri};
use prost::Message;
use resource::{StoreError, StoreResult};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::error::{self, Cure};
use super::grpc::{Connection, Fault};
use super::options::{Endpoint, EtcdOptions};
use super::wire;
use crate::tls;

/// For a connection to one endpoint (Calico's dial timeout).
const DIAL: Duration = Duration::from_secs(10);
/// An endpoint that has not answered by then is no longer waited for alone.
const HEAD_START: Duration = Duration::from_millis(250);
/// For one answer; etcd itself gives up after 7 s when it has no leader.
const ANSWER: Duration = Duration::from_secs(10);
/// For a call with all that is tried for it: two members that do not answer, and a third that does.
const PATIENCE: Duration = Duration::from_secs(25);
/// Between tries, twice as long each time.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Whether a request may be sent again when its answer was lost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Read,
    Write,
}

/// A connection and whom it is to.
pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) endpoint: String,
    index: usize,
}

impl Link {
    /// Asks this member once.
    pub(super) async fn ask<Q: Message, R: Message + Default>(
        &self,
        path: &'static str,
        request: &Q,
    ) -> Result<R, Fault> {
        match timeout(ANSWER, self.connection.unary(path, request)).await {
            Ok(answer) => answer,
            Err(_) => Err(Fault::Lost(format!("no answer in {ANSWER:?}"))),
        }
    }
}

pub(super) struct Pool {
    options: EtcdOptions,
    tls: Option<TlsConnector>,
    link: Mutex<Option<Arc<Link>>>,
    /// Only one connects, and the others wait for it.
    connecting: tokio::sync::Mutex<()>,
    /// The endpoint that is tried first.
    first: AtomicUsize,
}

impl Pool {
    pub(super) fn new(options: EtcdOptions) -> StoreResult<Pool> {
        let any_tls = options.endpoints.iter().any(|e| e.tls);
        let named = options.ca.is_some() || options.certificate.is_some() || options.key.is_some();
        // What is named is read in any case, so that a wrong name is told.
        let tls = match any_tls || named {
            true => Some(TlsConnector::from(tls::config(&options.identity())?)),
            false => None,
        };
        // Many nodes with one configuration should not all sit on one member.
        let start = std::hash::BuildHasher::hash_one(
            &std::collections::hash_map::RandomState::new(),
            std::process::id(),
        );
        let count = options.endpoints.len().max(1) as u64;
        Ok(Pool {
            first: AtomicUsize::new(usize::try_from(start % count).unwrap_or(0)),
            options,
            tls,
            link: Mutex::new(None),
            connecting: tokio::sync::Mutex::new(()),
        })
    }

    fn present(&self) -> Option<Arc<Link>> {
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        link.as_ref()
            .filter(|l| !l.connection.is_closed())
            .map(Arc::clone)
    }

    /// The connection, made anew where there is none.
    ///
    /// # Errors
    /// That no endpoint can be used, with each one's reason.
    pub(super) async fn link(&self) -> StoreResult<Arc<Link>> {
        if let Some(link) = self.present() {
            return Ok(link);
        }
        let _alone = self.connecting.lock().await;
        if let Some(link) = self.present() {
            return Ok(link);
        }
        let link = Arc::new(self.connect().await?);
        tracing::debug!(endpoint = link.endpoint, "connected to etcd");
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&link));
        Ok(link)
    }

    /// Leaves a connection that is no good; the next call connects anew, to another endpoint first. Calls on it go on.
    pub(super) fn leave(&self, link: &Arc<Link>) {
        let mut present = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        if present.as_ref().is_some_and(|p| Arc::ptr_eq(p, link)) {
            *present = None;
            self.first.store(link.index + 1, Ordering::Relaxed);
        }
    }

    /// Tries all endpoints, one after the other; one that takes long is overtaken.
    async fn connect(&self) -> StoreResult<Link> {
        let endpoints = &self.options.endpoints;
        let first = self.first.load(Ordering::Relaxed);
        let mut waiting = (0..endpoints.len()).map(|i| (first + i) % endpoints.len());
        let mut tries = JoinSet::new();
        let mut reasons = Vec::new();
        loop {
            let next = waiting.next();
            if let Some(index) = next {
                let (endpoint, tls) = (endpoints[index].clone(), self.tls.clone());
                let login = self.options.login.clone();
                tries.spawn(async move {
                    let login = login.as_ref().map(|(u, p)| (u.as_str(), p.reveal()));
                    let made = timeout(DIAL, connect(&endpoint, tls, login)).await;
                    let made = made.unwrap_or_else(|_| Err(format!("no answer in {DIAL:?}")));
                    (index, endpoint, made)
                });
            }
            let ended = tokio::select! {
                ended = tries.join_next() => ended,
                () = sleep(HEAD_START), if next.is_some() => continue,
            };
            match ended {
                Some(Ok((index, endpoint, Ok(connection)))) => {
                    return Ok(Link {
                        connection,
                        endpoint: endpoint.to_string(),
                        index,
                    });
                }
                Some(Ok((_, endpoint, Err(reason)))) => {
                    let endpoint = endpoint.to_string();
                    reasons.push(format!("{endpoint}: {}", error::mended(&endpoint, &reason)));
                }
                Some(Err(error)) => reasons.push(error.to_string()),
                None if next.is_none() => return Err(error::unreachable(&self.options, &reasons)),
                None => (),
            }
        }
    }

    /// Asks, and asks again where that is no risk: what was not sent, or is a read.
    pub(super) async fn call<Q: Message, R: Message + Default>(
        &self,
        path: &'static str,
        request: &Q,
        kind: Call,
    ) -> StoreResult<R> {
        let until = Instant::now() + PATIENCE;
        let mut pause = PAUSE;
        let mut logged_in = false;
        loop {
            let link = self.link().await?;
            let fault = match link.ask(path, request).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            tracing::debug!(endpoint = link.endpoint, ?fault, "a call to etcd failed");
            let again = match error::cure(&fault) {
                Cure::Again => true,
                Cure::Unknown => {
                    self.leave(&link);
                    kind == Call::Read
                }
                Cure::Login => !std::mem::replace(&mut logged_in, true),
                Cure::Never => return Err(error::final_fault(&link.endpoint, &fault, false)),
            };
            if !again || Instant::now() + pause > until {
                return Err(error::final_fault(
                    &link.endpoint,
                    &fault,
                    kind == Call::Write,
                ));
            }
            self.leave(&link);
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// A connection to one endpoint, logged in where a login is given.
async fn connect(
    endpoint: &Endpoint,
    tls: Option<TlsConnector>,
    login: Option<(&str, &str)>,
) -> Result<Connection, String> {
    let base: Uri = endpoint
        .to_string()
        .parse()
        .map_err(|e: http::uri::InvalidUri| e.to_string())?;
    let tcp = TcpStream::connect((endpoint.host.as_str(), endpoint.port))
        .await
        .map_err(|e| e.to_string())?;
    let _ = tcp.set_nodelay(true);
    let mut connection = match tls.filter(|_| endpoint.tls) {
        None => Connection::start(tcp, base).await?,
        Some(connector) => {
            let name = ServerName::try_from(endpoint.host.clone()).map_err(|e| e.to_string())?;
            let stream = connector
                .connect(name, tcp)
                .await
                .map_err(|e| e.to_string())?;
            Connection::start(stream, base).await?
        }
    };
    if let Some((name, password)) = login {
        let request = wire::AuthenticateRequest {
            name: name.to_string(),
            password: password.to_string(),
        };
        let answer: Result<wire::AuthenticateResponse, Fault> =
            connection.unary(wire::AUTHENTICATE, &request).await;
        match answer {
            Ok(answer) => {
                let mut token = HeaderValue::from_str(&answer.token).map_err(|e| e.to_string())?;
                token.set_sensitive(true);
                connection.set_header("token", token);
            }
            // A login is given, and nobody asks for one: Calico goes on.
            Err(Fault::Status { message, .. })
                if message.contains("authentication is not enabled") => {}
            Err(fault) => return Err(refusal(&fault)),
        }
    }
    Ok(connection)
}

fn refusal(fault: &Fault) -> String {
    match error::final_fault("", fault, false) {
        StoreError::Backend(text) => text.trim_start_matches("etcd at : ").to_string(),
        other => other.to_string(),
    }
}
