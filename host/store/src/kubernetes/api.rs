//! Requests to one API server: JSON over HTTP/2 or HTTP/1.1, and its errors in the operator's words.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use resource::{StoreError, StoreResult};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::credentials::Credentials;
use super::options::KubernetesOptions;
use crate::tls::{self, Identity};

/// For a connection.
const DIAL: Duration = Duration::from_secs(10);
/// For one answer.
const ANSWER: Duration = Duration::from_secs(30);
/// A connection is asked for a sign of life this often, and this long is waited for it.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(10);
/// What may be under way to us before it was read.
const WINDOW: u32 = 4 << 20;
/// How often a request is tried that was not done, or that may be done again: a server that was just started asks for some seconds.
const TRIES: u32 = 10;
/// And how often where there is no server.
const DIALS: u32 = 4;
/// Between tries, twice as long each time.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What is sent.
pub(super) enum Body {
    None,
    /// An object.
    Object(Value),
    /// What to change in an object (RFC 7386).
    MergePatch(Value),
    /// The same, where lists are merged by their items' names (Kubernetes).
    StrategicMergePatch(Value),
}

/// Why a request has no result.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// It was not sent.
    NotSent(String),
    /// It was sent, and no whole answer came: it may have been done or not.
    Lost(String),
    /// The server's answer is an error.
    Status(Status),
}

/// Kubernetes' Status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) code: u16,
    /// One word: `NotFound`, `Conflict`, `AlreadyExists`, `Expired` ...
    pub(super) reason: String,
    pub(super) message: String,
    /// The plural of what the answer is about; empty where the path itself is not known.
    pub(super) about: String,
}

impl Status {
    pub(super) fn of(code: u16, object: &Value) -> Status {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        Status {
            code,
            reason: text(&object["reason"]),
            message: text(&object["message"]),
            about: text(&object["details"]["kind"]),
        }
    }
}

/// A connection that carries many requests.
type Shared = http2::SendRequest<Full<Bytes>>;

/// One API server.
pub(super) struct Api {
    options: KubernetesOptions,
    base: Uri,
    tls: Option<TlsConnector>,
    credentials: Credentials,
    shared: Mutex<Option<Shared>>,
    /// Only one connects, and the others wait for it.
    connecting: tokio::sync::Mutex<()>,
}

/// What a new connection speaks.
enum Connected {
    Many(Shared),
    One(http1::SendRequest<Full<Bytes>>),
}

impl Api {
    /// # Errors
    /// A server that is no URL, certificates that cannot be used.
    pub(super) fn new(options: KubernetesOptions) -> StoreResult<Api> {
        let base: Uri = options
            .server
            .trim_end_matches('/')
            .parse()
            .map_err(|_| bad_server(&options))?;
        let tls = match base.scheme_str() {
            Some("https") => Some(TlsConnector::from(tls::config(&Identity {
                datastore: "Kubernetes",
                origin: &options.origin,
                ca: options.ca.as_ref(),
                insecure: options.insecure,
                certificate: options.login.certificate.as_ref(),
                key: options.login.key.as_ref(),
                names: ["K8S_CA_FILE", "K8S_CERT_FILE", "K8S_KEY_FILE"],
                protocols: &[b"h2", b"http/1.1"],
            })?)),
            Some("http") => None,
            Some(_) | None => return Err(bad_server(&options)),
        };
        if base.host().is_none_or(str::is_empty) {
            return Err(bad_server(&options));
        }
        Ok(Api {
            credentials: Credentials::new(options.login.token.clone()),
            options,
            base,
            tls,
            shared: Mutex::new(None),
            connecting: tokio::sync::Mutex::new(()),
        })
    }

    fn present(&self) -> Option<Shared> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.as_ref().filter(|s| !s.is_closed()).cloned()
    }

    fn keep(&self, shared: Option<Shared>) {
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = shared;
    }

    async fn connection(&self) -> Result<Connected, String> {
        if let Some(shared) = self.present() {
            return Ok(Connected::Many(shared));
        }
        let alone = self.connecting.lock().await;
        if let Some(shared) = self.present() {
            return Ok(Connected::Many(shared));
        }
        let connected = match timeout(DIAL, self.connect()).await {
            Ok(connected) => connected?,
            Err(_) => return Err(format!("no answer in {DIAL:?}")),
        };
        if let Connected::Many(shared) = &connected {
            self.keep(Some(shared.clone()));
        }
        drop(alone);
        Ok(connected)
    }

    async fn connect(&self) -> Result<Connected, String> {
        let host = self.base.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let port = self.base.port_u16();
        let Some(tls) = &self.tls else {
            let stream = dial(bare, port.unwrap_or(80)).await?;
            return one(stream).await;
        };
        let stream = dial(bare, port.unwrap_or(443)).await?;
        let name = self.options.server_name.as_deref().unwrap_or(bare);
        let name = ServerName::try_from(name.to_string())
            .map_err(|_| format!("'{name}' is no name that a certificate may have"))?;
        let stream = tls.connect(name, stream).await.map_err(|e| e.to_string())?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            return many(stream).await;
        }
        one(stream).await
    }

    /// Sends a request once and waits for the head of its answer.
    async fn send(
        &self,
        method: &Method,
        path: &str,
        body: &Body,
    ) -> Result<Response<Incoming>, Fault> {
        let (kind, octets) = match body {
            Body::None => (None, Bytes::new()),
            Body::Object(value) => (Some("application/json"), value.to_string().into()),
            Body::MergePatch(value) => (
                Some("application/merge-patch+json"),
                value.to_string().into(),
            ),
            Body::StrategicMergePatch(value) => (
                Some("application/strategic-merge-patch+json"),
                value.to_string().into(),
            ),
        };
        let authority = self.base.authority().map_or("", |a| a.as_str());
        let prefix = self.base.path().trim_end_matches('/');
        let scheme = self.base.scheme_str().unwrap_or("https");
        let mut request = Request::builder()
            .method(method)
            .header("accept", "application/json")
            .header(
                "user-agent",
                concat!("selvedge/", env!("CARGO_PKG_VERSION")),
            );
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let header = self.credentials.header().await.map_err(Fault::NotSent)?;
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        let connected = self.connection().await.map_err(Fault::NotSent)?;
        let bad = |e: http::Error| Fault::NotSent(format!("'{path}' is no path: {e}"));
        match connected {
            Connected::Many(mut shared) => {
                let request = request
                    .uri(format!("{scheme}://{authority}{prefix}{path}"))
                    .body(Full::new(octets))
                    .map_err(bad)?;
                let answer = shared.try_send_request(request).await;
                answer.map_err(|mut error| match error.take_message() {
                    Some(_) => Fault::NotSent(words(error.error())),
                    None => Fault::Lost(words(error.error())),
                })
            }
            Connected::One(mut own) => {
                let request = request
                    .uri(format!("{prefix}{path}"))
                    .header("host", authority)
                    .body(Full::new(octets))
                    .map_err(bad)?;
                let answer = own.try_send_request(request).await;
                answer.map_err(|mut error| match error.take_message() {
                    Some(_) => Fault::NotSent(words(error.error())),
                    None => Fault::Lost(words(error.error())),
                })
            }
        }
    }

    /// Opens a stream of lines: a watch. Nothing is tried again.
    pub(super) async fn stream(&self, path: &str) -> Result<Incoming, Fault> {
        let response = timeout(ANSWER, self.send(&Method::GET, path, &Body::None)).await;
        let response = response.map_err(|_| Fault::Lost(format!("no answer in {ANSWER:?}")))??;
        let code = response.status().as_u16();
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        let octets = whole(response.into_body()).await?;
        let object = serde_json::from_slice(&octets).unwrap_or_default();
        if code == 401 {
            self.credentials.forget();
        }
        Err(Fault::Status(Status::of(code, &object)))
    }

    async fn once(&self, method: &Method, path: &str, body: &Body) -> Result<Value, Fault> {
        let answered = async {
            let response = self.send(method, path, body).await?;
            let code = response.status().as_u16();
            let good = response.status().is_success();
            let octets = whole(response.into_body()).await?;
            let object = serde_json::from_slice::<Value>(&octets);
            match (good, object) {
                (true, Ok(object)) => Ok(object),
                (true, Err(error)) => Err(Fault::Lost(format!("its answer is no JSON: {error}"))),
                (false, object) => {
                    Err(Fault::Status(Status::of(code, &object.unwrap_or_default())))
                }
            }
        };
        match timeout(ANSWER, answered).await {
            Ok(result) => result,
            Err(_) => {
                // Such a connection is not trusted any more.
                self.keep(None);
                Err(Fault::Lost(format!("no answer in {ANSWER:?}")))
            }
        }
    }

    /// A request with an answer. What was not done is tried again, and so is what only reads.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<Value, Fault> {
        let mut pause = PAUSE;
        for tried in 1..TRIES {
            let fault = match self.once(&method, path, &body).await {
                Ok(value) => return Ok(value),
                Err(fault) => fault,
            };
            match &fault {
                Fault::NotSent(_) if tried < DIALS => (),
                Fault::Lost(_) if method == Method::GET => (),
                Fault::Status(status) => match status.code {
                    401 if self.credentials.renewable() => self.credentials.forget(),
                    // Too many at once, or not ready yet: it was not done.
                    429 => (),
                    500..=599 if method == Method::GET && !too_new(status) => (),
                    503 if status.reason == "ServiceUnavailable" => (),
                    _ => return Err(fault),
                },
                Fault::NotSent(_) | Fault::Lost(_) => return Err(fault),
            }
            tracing::debug!(path, ?fault, "tried again");
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.once(&method, path, &body).await
    }

    /// A fault as the store tells it.
    pub(super) fn error(&self, fault: Fault, write: bool) -> StoreError {
        let server = &self.options.server;
        let unknown = ". It may have been written or not: look before writing again";
        StoreError::Backend(match fault {
            Fault::NotSent(reason) => format!(
                "the Kubernetes API server {server} ({}) cannot be used: {}",
                self.options.origin,
                mended(&reason)
            ),
            Fault::Lost(reason) => format!(
                "the Kubernetes API server {server}: {reason}{}",
                if write { unknown } else { "" }
            ),
            Fault::Status(status) => {
                let unsure = write && matches!(status.code, 500 | 502 | 504);
                format!(
                    "the Kubernetes API server {server}: {}{}{}",
                    status.words(),
                    status.advice(),
                    if unsure { unknown } else { "" }
                )
            }
        })
    }
}

impl Status {
    fn words(&self) -> String {
        match self.message.as_str() {
            "" => format!("answer {}", self.code),
            message => message.trim_end_matches('.').to_string(),
        }
    }

    fn advice(&self) -> &'static str {
        match self.code {
            401 => {
                "; it does not know us: mend the user of the kubeconfig, or K8S_CERT_FILE and K8S_KEY_FILE"
            }
            403 => "; its RBAC must let us get, list, watch, create, update and delete this",
            404 if self.about.is_empty() => {
                "; it does not have this type: install the CustomResourceDefinitions, `selvedge datastore crds | kubectl apply -f -`, and see that CALICO_API_GROUP is the cluster's"
            }
            413 | 422 => "; nothing was changed",
            _ => "",
        }
    }
}

/// Whether a revision is asked for that is not there yet.
pub(super) fn too_new(status: &Status) -> bool {
    status.message.contains("Too large resource version")
}

fn mended(reason: &str) -> String {
    let mend = if reason.contains("UnknownIssuer") {
        "; name the authority that signed its certificate: certificate-authority in the kubeconfig, or K8S_CA_FILE"
    } else if reason.contains("invalid peer certificate") {
        "; it must be named as its certificate names it, and both clocks be right"
    } else if reason.contains("corrupt message") {
        "; it does not speak TLS: write http:// if that is meant"
    } else if reason.contains("refused") || reason.contains("no answer") {
        "; start it, or mend the server's address"
    } else {
        ""
    };
    format!("{reason}{mend}")
}

fn bad_server(options: &KubernetesOptions) -> StoreError {
    StoreError::Backend(format!(
        "the Kubernetes API server '{}' ({}) is no URL: write it like https://10.0.0.1:6443",
        options.server, options.origin
    ))
}

/// An error with what it came from.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

async fn whole(body: Incoming) -> Result<Bytes, Fault> {
    let collected = body.collect().await.map_err(|e| Fault::Lost(words(&e)))?;
    Ok(collected.to_bytes())
}

async fn dial(host: &str, port: u16) -> Result<TcpStream, String> {
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|e| e.to_string())?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    Ok(stream)
}

async fn many<T>(stream: T) -> Result<Connected, String>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(4 * WINDOW)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_ANSWER)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| words(&e))?;
    tokio::spawn(async move {
        let end = connection.await;
        tracing::debug!(?end, "a connection to the API server ended");
    });
    Ok(Connected::Many(sender))
}

async fn one<T>(stream: T) -> Result<Connected, String>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| words(&e))?;
    tokio::spawn(connection);
    Ok(Connected::One(sender))
}
