//! The stream that fills the log: a watch on each of our prefixes, opened again wherever it breaks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use resource::{Change, KeyPrefix, StoreError};
use tokio::time::{Instant, sleep};

use super::error::{self, Cure, OUT_OF_RANGE};
use super::grpc::{Call, Fault};
use super::log::{Log, unsigned};
use super::pool::Link;
use super::wire::{
    self, RangeRequest, RangeResponse, ResponseHeader, WatchCreateRequest, WatchRequest,
    WatchResponse,
};
use super::{Shared, end_of};

/// After a failure the stream is opened again after this long.
const RETRY: Duration = Duration::from_millis(500);
/// After a break that another endpoint may mend.
const PAUSE: Duration = Duration::from_millis(20);
/// A stream that cannot be mended in this time has failed; an election takes about a second.
const MENDED: Duration = Duration::from_secs(5);

/// Why a stream ended.
enum End {
    /// It is to begin elsewhere in the log.
    Restarted,
    /// The connection broke, or the member is not one to ask.
    Broken(StoreError),
    /// It will not go on like this.
    Failed(StoreError),
}

/// Follows etcd's log for ever.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut heard = Instant::now();
    let mut cluster = None;
    loop {
        let failure = match follow(&shared, &mut cluster, &mut heard).await {
            End::Restarted => continue,
            End::Broken(error) if heard.elapsed() > MENDED => error,
            End::Broken(error) => {
                tracing::debug!(%error, "the watch of etcd broke");
                shared.change_log(Log::opening);
                sleep(PAUSE).await;
                continue;
            }
            End::Failed(error) => error,
        };
        tracing::debug!(error = %failure, "the watch of etcd failed");
        shared.change_log(|log| log.failed(failure));
        sleep(RETRY).await;
    }
}

async fn follow(shared: &Shared, cluster: &mut Option<u64>, heard: &mut Instant) -> End {
    let link = match shared.pool.link().await {
        Ok(link) => link,
        Err(error) => return End::Failed(error),
    };
    if let Err(fault) = recognise(shared, &link, cluster).await {
        return ended(shared, &link, &fault);
    }
    let (generation, from, _) = shared.read_log(Log::position);
    let mut call = match create(&link, from).await {
        Ok(call) => call,
        Err(fault) => return ended(shared, &link, &fault),
    };
    // How far each watch has told.
    let mut told = BTreeMap::new();
    loop {
        let message = tokio::select! {
            message = call.receive::<WatchResponse>() => message,
            () = shared.restart.notified() => {
                if shared.read_log(|log| log.is_current(generation)) {
                    continue;
                }
                return End::Restarted;
            }
        };
        // A break counts too: the time to mend it begins here, however long the stream had been quiet.
        *heard = Instant::now();
        let response = match message {
            Ok(Some(response)) => response,
            Ok(None) => return ended(shared, &link, &Fault::Lost("the watch ended".to_string())),
            Err(fault) => return ended(shared, &link, &fault),
        };
        if response.canceled {
            return cancelled(shared, &link, generation, &response);
        }
        let last = response.events.last().and_then(|e| e.kv.as_ref());
        let far = match (response.created, last) {
            (true, _) => from,
            (false, Some(kv)) => unsigned(kv.mod_revision),
            // A message without events says how far the member is.
            (false, None) => revision(response.header.as_ref()),
        };
        told.insert(response.watch_id, far);
        let all = told.len() == prefixes().len();
        shared.change_log(|log| {
            if !log.is_current(generation) {
                return;
            }
            log.append(&response.events);
            if all && response.created {
                log.live();
            } else if all && response.events.is_empty() {
                log.progressed(told.values().copied().min().unwrap_or(0));
            }
        });
    }
}

/// A fault ends a stream; another member may do better.
fn ended(shared: &Shared, link: &Arc<Link>, fault: &Fault) -> End {
    shared.pool.leave(link);
    let error = error::final_fault(&link.endpoint, fault, false);
    match error::cure(fault) {
        Cure::Never => End::Failed(error),
        Cure::Again | Cure::Login | Cure::Unknown => End::Broken(error),
    }
}

fn prefixes() -> Vec<String> {
    KeyPrefix::All.paths()
}

fn revision(header: Option<&ResponseHeader>) -> u64 {
    header.map_or(0, |h| unsigned(h.revision))
}

/// Opens a watch on each prefix, from the revision after `from`.
async fn create(link: &Link, from: u64) -> Result<Call, Fault> {
    // A member that has lost its leader ends the stream, instead of being silent.
    let mut call = link
        .connection
        .open(wire::WATCH, &[("hasleader", "true")])
        .await?;
    for prefix in prefixes() {
        let request = WatchCreateRequest {
            range_end: end_of(&prefix),
            key: prefix.into_bytes(),
            start_revision: i64::try_from(from.saturating_add(1)).unwrap_or(i64::MAX),
            progress_notify: true,
        };
        let request = WatchRequest {
            create: Some(request),
        };
        call.send(&request, false)?;
    }
    Ok(call)
}

/// Sees to it that this is the store that was followed so far: a cluster of that identity, with a log that goes beyond
/// what was told, and in which the last change that was told still stands.
async fn recognise(
    shared: &Shared,
    link: &Arc<Link>,
    cluster: &mut Option<u64>,
) -> Result<(), Fault> {
    let (_, reached, last) = shared.read_log(Log::position);
    let last = last.filter(|c| match c {
        Change::Put(entry) => entry.revision == reached,
        Change::Delete { revision, .. } => *revision == reached,
    });
    let key = match &last {
        Some(Change::Put(entry)) => entry.key.path(),
        Some(Change::Delete { key, .. }) => key.path(),
        None => KeyPrefix::All.paths().swap_remove(0),
    };
    let ask = |revision: u64| RangeRequest {
        key: key.clone().into_bytes(),
        revision: i64::try_from(revision).unwrap_or(i64::MAX),
        ..RangeRequest::default()
    };
    let answer: Result<RangeResponse, Fault> = link.ask(wire::RANGE, &ask(reached)).await;
    let (header, same) = match answer {
        Ok(answer) => {
            let same = match (&last, answer.kvs.first()) {
                (Some(Change::Put(entry)), Some(kv)) => {
                    unsigned(kv.mod_revision) == entry.revision
                        && kv.value == entry.value.as_bytes()
                }
                (Some(Change::Put(_)), None) | (Some(Change::Delete { .. }), Some(_)) => false,
                (Some(Change::Delete { .. }), None) | (None, _) => true,
            };
            (answer.header, same)
        }
        Err(Fault::Status { code, message }) if code == OUT_OF_RANGE => {
            let answer: RangeResponse = link.ask(wire::RANGE, &ask(0)).await?;
            // Compacted is no sign of another store; the watch will say what is missing.
            (answer.header, !message.contains("future revision"))
        }
        Err(fault) => return Err(fault),
    };
    let now = revision(header.as_ref());
    let id = header.map_or(0, |h| h.cluster_id);
    let was = cluster.replace(id);
    if same && was.is_none_or(|was| was == id) {
        shared.change_log(|log| log.saw(now));
    } else {
        tracing::warn!(
            endpoint = link.endpoint,
            "another etcd, or an older state of it, stands in the place of the one before: everything is read again"
        );
        shared.change_log(|log| log.replaced(now));
    }
    Ok(())
}

/// The server has ended a watch.
fn cancelled(shared: &Shared, link: &Arc<Link>, generation: u64, response: &WatchResponse) -> End {
    let compacted = unsigned(response.compact_revision);
    if compacted > 0 {
        shared.change_log(|log| {
            if log.is_current(generation) {
                log.lost(compacted - 1);
            }
        });
        return End::Restarted;
    }
    let words = response.cancel_reason.as_str();
    let message = words.rsplit("desc = ").next().unwrap_or(words).to_string();
    let code = match words.contains("permission denied") {
        true => error::PERMISSION_DENIED,
        false => error::UNAVAILABLE,
    };
    ended(shared, link, &Fault::Status { code, message })
}
