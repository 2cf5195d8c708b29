//! One HTTP/2 connection to one endpoint, and gRPC calls on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{PingPong, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Uri};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};

/// A call that is under way is asked for a sign of life this often (Calico's keepalive).
const KEEPALIVE: Duration = Duration::from_secs(30);
/// And this long is waited for it.
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(10);
/// What may be under way to us before it was read: a list of some thousand objects.
const WINDOW: u32 = 4 << 20;
/// A length beyond this is no message of etcd's.
const LARGEST: usize = 1 << 30;

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The request was not sent.
    NotSent(String),
    /// The request was sent, at least in part, and no whole answer came: it may have been executed or not.
    Lost(String),
    /// The server's answer is an error.
    Status {
        /// gRPC's number.
        code: u32,
        /// The server's words.
        message: String,
    },
}

/// A connection; dropping the last handle closes it when its calls are over.
pub(super) struct Connection {
    sender: SendRequest<Bytes>,
    base: Uri,
    headers: HeaderMap,
    active: Arc<AtomicUsize>,
    closed: Arc<AtomicBool>,
}

impl Connection {
    /// Speaks HTTP/2 on a stream that is open, once the other side does too. `base` has the scheme and authority of requests.
    pub(super) async fn start<T>(io: T, base: Uri) -> Result<Connection, String>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, mut connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(4 * WINDOW)
            .enable_push(false)
            .handshake::<T, Bytes>(io)
            .await
            .map_err(|e| e.to_string())?;
        let active = Arc::new(AtomicUsize::new(0));
        let closed = Arc::new(AtomicBool::new(false));
        let ping = connection.ping_pong();
        let mut driver = tokio::spawn(connection);
        let Some(mut ping) = ping else {
            return Err("no ping".to_string());
        };
        // Whether it speaks HTTP/2 at all, and whether it takes our certificate, shows in its first answer.
        if let Err(error) = ping.ping(h2::Ping::opaque()).await {
            return Err(match driver.await {
                Ok(Err(cause)) => cause.to_string(),
                Ok(Ok(())) | Err(_) => error.to_string(),
            });
        }
        let (driver_active, driver_closed) = (Arc::clone(&active), Arc::clone(&closed));
        tokio::spawn(async move {
            tokio::select! {
                end = &mut driver => tracing::debug!(?end, "a connection to etcd ended"),
                () = silence(ping, &driver_active) => {
                    tracing::debug!("etcd gave no sign of life");
                    driver.abort();
                }
            }
            driver_closed.store(true, Ordering::Release);
        });
        let mut headers = HeaderMap::new();
        headers.insert("te", HeaderValue::from_static("trailers"));
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert(
            "user-agent",
            HeaderValue::from_static(concat!("selvedge/", env!("CARGO_PKG_VERSION"))),
        );
        Ok(Connection {
            sender,
            base,
            headers,
            active,
            closed,
        })
    }

    /// Sends a header with every call from now on.
    pub(super) fn set_header(&mut self, name: &'static str, value: HeaderValue) {
        self.headers.insert(name, value);
    }

    /// Whether it is known to be gone.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// A call with one answer.
    pub(super) async fn unary<Q: Message, R: Message + Default>(
        &self,
        path: &'static str,
        request: &Q,
    ) -> Result<R, Fault> {
        let mut call = self.open(path, &[]).await?;
        call.send(request, true)?;
        let answer = call
            .receive()
            .await?
            .ok_or_else(|| Fault::Lost("an answer without a message".to_string()))?;
        // The status comes last, and an answer without it is none.
        call.receive::<R>().await?;
        Ok(answer)
    }

    /// A call with a stream in each direction.
    pub(super) async fn open(
        &self,
        path: &'static str,
        more: &[(&'static str, &'static str)],
    ) -> Result<Call, Fault> {
        let unsent = |e: &dyn std::fmt::Display| Fault::NotSent(e.to_string());
        let mut sender = self.sender.clone().ready().await.map_err(|e| unsent(&e))?;
        let mut parts = self.base.clone().into_parts();
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static(path));
        let uri = Uri::from_parts(parts).map_err(|e| unsent(&e))?;
        let mut request = Request::post(uri).body(()).map_err(|e| unsent(&e))?;
        *request.headers_mut() = self.headers.clone();
        for (name, value) in more {
            request
                .headers_mut()
                .insert(*name, HeaderValue::from_static(value));
        }
        let (response, send) = sender
            .send_request(request, false)
            .map_err(|e| unsent(&e))?;
        self.active.fetch_add(1, Ordering::Relaxed);
        Ok(Call {
            response: Some(response),
            receive: None,
            send,
            buffer: BytesMut::new(),
            _active: Active(Arc::clone(&self.active)),
        })
    }
}

/// Ends when a ping of a connection that has calls is not answered. One without calls is left alone: etcd takes pings on
/// it for an attack.
async fn silence(mut ping: PingPong, active: &AtomicUsize) {
    loop {
        sleep(KEEPALIVE).await;
        if active.load(Ordering::Relaxed) == 0 {
            continue;
        }
        match timeout(KEEPALIVE_ANSWER, ping.ping(h2::Ping::opaque())).await {
            Ok(Ok(_)) => (),
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

struct Active(Arc<AtomicUsize>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A call under way. Dropping it cancels it.
pub(super) struct Call {
    response: Option<ResponseFuture>,
    receive: Option<RecvStream>,
    send: SendStream<Bytes>,
    buffer: BytesMut,
    _active: Active,
}

impl Call {
    /// Sends one message; `last` when no other follows.
    pub(super) fn send<Q: Message>(&mut self, message: &Q, last: bool) -> Result<(), Fault> {
        let length = message.encoded_len();
        let mut frame = BytesMut::with_capacity(5 + length);
        frame.put_u8(0);
        frame.put_u32(u32::try_from(length).expect("a request fits in 4 GiB"));
        message
            .encode(&mut frame)
            .expect("the frame has room for the message");
        self.send
            .send_data(frame.freeze(), last)
            .map_err(|e| Fault::Lost(e.to_string()))
    }

    /// The next message; none when the server has ended the stream without an error.
    pub(super) async fn receive<R: Message + Default>(&mut self) -> Result<Option<R>, Fault> {
        // Nothing is taken out before it is there: this may be dropped at any await and called again.
        if let Some(response) = &mut self.response {
            let answered = response.await;
            self.response = None;
            let (head, body) = answered.map_err(|e| broken(&e))?.into_parts();
            if head.headers.contains_key("grpc-status") {
                return status(&head.headers).map(|()| None);
            }
            if head.status != 200 {
                return Err(Fault::Lost(format!("HTTP status {}", head.status)));
            }
            self.receive = Some(body);
        }
        let Some(body) = &mut self.receive else {
            return Ok(None);
        };
        loop {
            if let Some(message) = whole(&mut self.buffer)? {
                return R::decode(message)
                    .map(Some)
                    .map_err(|e| Fault::Lost(format!("an answer that cannot be read: {e}")));
            }
            match body.data().await {
                Some(Ok(data)) => {
                    // What was read makes room for more.
                    let _ = body.flow_control().release_capacity(data.len());
                    self.buffer.extend_from_slice(&data);
                }
                Some(Err(error)) => return Err(broken(&error)),
                None => {
                    let trailers = body.trailers().await.map_err(|e| broken(&e))?;
                    self.receive = None;
                    return match trailers {
                        Some(trailers) => status(&trailers).map(|()| None),
                        None => Err(Fault::Lost("the answer was cut off".to_string())),
                    };
                }
            }
        }
    }
}

fn broken(error: &h2::Error) -> Fault {
    // The server says of such a stream that it did not look at it.
    if error.reason() == Some(h2::Reason::REFUSED_STREAM) {
        return Fault::NotSent(error.to_string());
    }
    Fault::Lost(error.to_string())
}

/// Takes one message from the front, where it is whole.
fn whole(buffer: &mut BytesMut) -> Result<Option<Bytes>, Fault> {
    let Some(head) = buffer.first_chunk::<5>() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes([head[1], head[2], head[3], head[4]]))
        .unwrap_or(usize::MAX);
    if head[0] != 0 || length > LARGEST {
        return Err(Fault::Lost(
            "an answer that is compressed or too long".to_string(),
        ));
    }
    if buffer.len() < 5 + length {
        buffer.reserve(5 + length - buffer.len());
        return Ok(None);
    }
    buffer.advance(5);
    Ok(Some(buffer.split_to(length).freeze()))
}

fn status(headers: &HeaderMap) -> Result<(), Fault> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let code = text("grpc-status")
        .and_then(|c| c.parse().ok())
        .unwrap_or(2);
    if code == 0 {
        return Ok(());
    }
    Err(Fault::Status {
        code,
        message: decoded(text("grpc-message").unwrap_or_default()),
    })
}

/// gRPC writes octets of a message that are not printable ASCII as `%XX`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let octet = (first == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match octet {
            Some(octet) => {
                bytes.push(octet);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_from_the_stream() {
        let mut buffer = BytesMut::new();
        assert_eq!(whole(&mut buffer), Ok(None));
        buffer.extend_from_slice(&[0, 0, 0, 0, 2, b'a']);
        assert_eq!(whole(&mut buffer), Ok(None));
        buffer.extend_from_slice(&[b'b', 0, 0, 0, 0, 0, 1]);
        assert_eq!(whole(&mut buffer), Ok(Some(Bytes::from_static(b"ab"))));
        assert_eq!(whole(&mut buffer), Ok(Some(Bytes::new())));
        assert_eq!(whole(&mut buffer), Ok(None));
        assert!(whole(&mut BytesMut::from(&[1u8, 0, 0, 0, 1, 0][..])).is_err());
        assert!(whole(&mut BytesMut::from(&[0u8, 255, 0, 0, 1, 0][..])).is_err());
    }

    #[test]
    fn an_error_is_read_from_the_trailers() {
        let mut trailers = HeaderMap::new();
        assert!(status(&trailers).is_err(), "no status is no success");
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        assert_eq!(status(&trailers), Ok(()));
        trailers.insert("grpc-status", HeaderValue::from_static("14"));
        trailers.insert(
            "grpc-message",
            HeaderValue::from_static("etcdserver: 100%25 %E2%80%A6%zz"),
        );
        assert_eq!(
            status(&trailers),
            Err(Fault::Status {
                code: 14,
                message: "etcdserver: 100% …%zz".to_string()
            })
        );
    }
}
