//! One watch: what happens to the objects of one type, told to the log.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http_body_util::BodyExt;
use kubernetes::Source;
use resource::{Change, Entry};
use serde_json::Value;
use tokio::time::sleep;

use super::Shared;
use super::api::{Fault, Status};

/// After a watch has ended it is opened again after this long; after one that failed twice as long each time.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often it is looked whether there is a type by now.
const LOOK: Duration = Duration::from_secs(5);
/// The server ends a watch after this long, in seconds, so that a broken one does not stay.
const LASTS: u32 = 1800;

/// How a watch ended.
enum End {
    /// It is opened again.
    Over,
    /// The server does not reach back to where it was.
    Expired,
    /// There is no such type.
    Absent,
    Failed(Fault),
}

/// Watches as long as the log's generation is this one.
pub(super) async fn run(shared: Arc<Shared>, source: Source, generation: u64) {
    let mut watch = Watch {
        shared,
        source,
        generation,
        gone: HashSet::new(),
    };
    let mut pause = PAUSE;
    while watch.is_current() {
        match watch.once().await {
            End::Over => pause = PAUSE,
            End::Expired => {
                watch.shared.change_log(|log| log.expire(generation));
                return;
            }
            End::Absent => {
                watch.appear().await;
                continue;
            }
            // The server asks for a moment: it has just been started, or has too much to do.
            End::Failed(Fault::Status(status)) if status.code == 429 => {
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            End::Failed(fault) => {
                let error = watch.shared.api.error(fault, false);
                watch.shared.change_log(|log| log.failed(error));
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        sleep(pause).await;
    }
}

struct Watch {
    shared: Arc<Shared>,
    source: Source,
    generation: u64,
    /// Objects that are there and stand for nothing, of which that was told.
    gone: HashSet<String>,
}

impl Watch {
    fn is_current(&self) -> bool {
        self.shared.log().is_current(self.generation)
    }

    fn collection(&self) -> String {
        self.source.collection(self.shared.group, None)
    }

    async fn once(&mut self) -> End {
        let from = self.shared.log().reached(self.source);
        let selector = self.source.selector().map(|s| format!("&{s}"));
        let path = format!(
            "{}?watch=1&allowWatchBookmarks=true&timeoutSeconds={LASTS}&resourceVersion={from}{}",
            self.collection(),
            selector.unwrap_or_default()
        );
        let mut body = match self.shared.api.stream(&path).await {
            Ok(body) => body,
            Err(Fault::Status(status)) => return ended(status),
            Err(fault) => return End::Failed(fault),
        };
        let source = self.source;
        self.shared.change_log(|log| log.open(source));
        let mut read = BytesMut::new();
        while let Some(frame) = body.frame().await {
            if !self.is_current() {
                return End::Over;
            }
            let Some(data) = frame.ok().and_then(|f| f.into_data().ok()) else {
                // The connection is gone, which the next try will say.
                return End::Over;
            };
            read.extend_from_slice(&data);
            while let Some(end) = read.iter().position(|octet| *octet == b'\n') {
                let line = read.split_to(end + 1);
                if let Err(end) = self.told(&line) {
                    return end;
                }
            }
        }
        End::Over
    }

    /// One event.
    fn told(&mut self, line: &[u8]) -> Result<(), End> {
        let Ok(mut event) = serde_json::from_slice::<Value>(line) else {
            return Err(End::Over);
        };
        let object = event["object"].take();
        let kind = event["type"].as_str().unwrap_or_default();
        if kind == "ERROR" {
            let code = object["code"].as_u64().and_then(|c| u16::try_from(c).ok());
            return Err(ended(Status::of(code.unwrap_or(500), &object)));
        }
        let revision = super::revision_of(&object);
        let mut changes = Vec::new();
        if kind != "BOOKMARK" {
            changes = self.changes(kind, &object, revision);
        }
        let (source, generation) = (self.source, self.generation);
        self.shared.change_log(|log| {
            if log.is_current(generation) {
                changes.into_iter().for_each(|change| log.tell(change));
                log.reach(source, revision);
            }
        });
        Ok(())
    }

    /// What an event of an object means for what it stands for.
    fn changes(&mut self, kind: &str, object: &Value, revision: u64) -> Vec<Change> {
        let metadata = &object["metadata"];
        let identity = format!("{}/{}", metadata["namespace"], metadata["name"]);
        let entries = match kind {
            "DELETED" => Vec::new(),
            _ => self.shared.entries(self.source, object),
        };
        let mut changes = Vec::new();
        if entries.is_empty() {
            let known = match kind {
                "DELETED" => self.gone.remove(&identity),
                // What is new and stands for nothing never stood for anything.
                "ADDED" => {
                    self.gone.insert(identity);
                    true
                }
                _ => !self.gone.insert(identity),
            };
            if !known {
                let keys = kubernetes::keys(self.source, self.shared.group, object);
                changes.extend(keys.into_iter().map(|key| Change::Delete { key, revision }));
            }
        } else {
            for reason in kubernetes::ignored(self.source, object) {
                tracing::warn!(
                    kind = self.source.kind(self.shared.group),
                    identity,
                    reason,
                    "passed over"
                );
            }
            self.gone.remove(&identity);
            changes.extend(entries.into_iter().map(Change::Put));
        }
        changes
    }

    /// Waits until there is such a type, and tells what there is of it.
    async fn appear(&mut self) {
        let source = self.source;
        self.shared.change_log(|log| log.open(source));
        let listed = loop {
            sleep(LOOK).await;
            if !self.is_current() {
                return;
            }
            if let Ok(Some(listed)) = self.shared.list(source, None, None).await {
                break listed;
            }
        };
        let puts: Vec<Entry> = listed.entries;
        let generation = self.generation;
        self.shared.change_log(|log| {
            if log.is_current(generation) {
                puts.into_iter()
                    .for_each(|entry| log.tell(Change::Put(entry)));
                log.reach(source, listed.revision);
            }
        });
    }
}

fn ended(status: Status) -> End {
    match status.code {
        410 => End::Expired,
        404 => End::Absent,
        // Beyond what the server has: its data were put back to an earlier day.
        _ if super::api::too_new(&status) => End::Expired,
        _ => End::Failed(Fault::Status(status)),
    }
}
