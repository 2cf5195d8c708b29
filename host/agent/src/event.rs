//! What the threads tell the loop.

use std::time::Duration;

use bgp::RouteChange;
use node::{BatchId, Now, StoredChange};
use tokio::sync::mpsc;

/// One thing that happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// All that the store has.
    Listing(Vec<StoredChange>),
    /// What changed in the store.
    Changes(Vec<StoredChange>),
    /// The store could not be read; said once until it can.
    StoreUnreadable(String),
    /// The store can be read again.
    StoreReadable,
    /// The kernel as read.
    Kernel(Box<dataplane::Actual>),
    /// The kernel could not be read.
    KernelUnreadable(String),
    /// Something changed in the kernel.
    KernelChanged,
    /// A batch is done.
    Applied(BatchId, Vec<(usize, String)>),
    /// Loc-RIB changes.
    Routes(Vec<RouteChange>),
    /// A peer's state changed.
    Peer(bgp::PeerEvent),
    /// Why the tunnel's address cannot be seen to, or `None` when it is.
    Tunnel(Option<String>),
    /// An address cannot be listened on.
    ListenFailed(std::net::SocketAddr, String),
    /// Peers have said all they have.
    BgpInSync,
    /// Something worth a line in the log, and whether it is a warning.
    Say(bool, String),
}

/// How many events may wait. A thread that finds the queue full waits too: the store and the kernel keep what they have
/// to say, and BGP peers are held back by TCP.
const QUEUE: usize = 1024;

/// The way to the loop. Sending fails only when the loop has ended, and then nobody is interested.
#[derive(Clone, Debug)]
pub(crate) struct ToLoop(mpsc::Sender<Event>);

impl ToLoop {
    pub(crate) fn channel() -> (ToLoop, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (ToLoop(sender), receiver)
    }

    /// From a thread; waits while the queue is full. False when the loop has ended.
    pub(crate) fn send(&self, event: Event) -> bool {
        self.0.blocking_send(event).is_ok()
    }

    /// The same from a task.
    pub(crate) async fn send_async(&self, event: Event) -> bool {
        self.0.send(event).await.is_ok()
    }
}

/// The clocks, read together.
pub(crate) fn now() -> Now {
    use std::sync::OnceLock;
    use std::time::{Instant, SystemTime, UNIX_EPOCH};
    static START: OnceLock<Instant> = OnceLock::new();
    let mono = START.get_or_init(Instant::now).elapsed();
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let whole =
        |time: Duration| Duration::from_micros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    // Cut to what a recording keeps, so that a replay sees the same.
    Now {
        mono: whole(mono),
        wall: whole(wall),
    }
}
