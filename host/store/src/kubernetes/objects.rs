//! What the store does with single objects and lists of them, each by its requests.

use std::sync::Arc;

use http::Method;
use kubernetes::{Place, Source};
use resource::{Entry, Key, Listing, StoreError, StoreResult};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::api::{Body, Fault};
use super::{Shared, TRIES, revision_of};

/// How many objects are asked for at once.
const PAGE: u32 = 500;

impl Shared {
    /// An object as it is, `None` where there is none.
    pub(super) async fn object(&self, place: &Place) -> StoreResult<Option<Value>> {
        let path = place.path(self.group);
        match self.api.call(Method::GET, &path, Body::None).await {
            Ok(object) => Ok(Some(object)),
            Err(Fault::Status(status)) if status.code == 404 => Ok(None),
            Err(fault) => Err(self.error(fault)),
        }
    }

    pub(super) async fn get(&self, key: &Key) -> StoreResult<Option<Entry>> {
        let Some(place) = Place::of(key) else {
            return Ok(None);
        };
        let Some(object) = self.object(&place).await? else {
            return Ok(None);
        };
        if place.source.deleted_in_two_steps() && kubernetes::is_deleted(&object) {
            self.finish_delete(&place, &object).await?;
            return Ok(None);
        }
        Ok(self.entry(place.source, key, &object))
    }

    /// Everything of a type, or of it in one namespace: now, or as it was at a revision. `None` where there is no such type.
    pub(super) async fn list(
        &self,
        source: Source,
        namespace: Option<&str>,
        at: Option<u64>,
    ) -> StoreResult<Option<Listing>> {
        let collection = source.collection(self.group, namespace);
        let mut entries = Vec::new();
        let mut revision = 0;
        let mut rest = String::new();
        loop {
            let mut query = vec![format!("limit={PAGE}")];
            query.extend(source.selector());
            match at {
                _ if !rest.is_empty() => query.push(format!("continue={rest}")),
                Some(at) => query.push(format!("resourceVersion={at}&resourceVersionMatch=Exact")),
                None => (),
            }
            let path = format!("{collection}?{}", query.join("&"));
            let mut page = match self.api.call(Method::GET, &path, Body::None).await {
                Ok(page) => page,
                Err(Fault::Status(status)) if status.code == 404 => return Ok(None),
                Err(Fault::Status(status)) if status.code == 410 => {
                    let cursor = at.unwrap_or(0);
                    return Err(StoreError::Compacted {
                        cursor,
                        first: cursor + 1,
                    });
                }
                Err(fault) => return Err(self.error(fault)),
            };
            if let Value::Array(items) = page["items"].take() {
                entries.extend(items.iter().flat_map(|item| self.entries(source, item)));
            }
            revision = revision_of(&page).max(revision);
            rest = page["metadata"]["continue"]
                .as_str()
                .unwrap_or_default()
                .to_string();
            if rest.is_empty() {
                return Ok(Some(Listing { entries, revision }));
            }
        }
    }

    /// The cluster's newest revision.
    pub(super) async fn newest(&self) -> StoreResult<u64> {
        let path = format!("{}?limit=1", Source::Namespace.collection(self.group, None));
        let list = self.api.call(Method::GET, &path, Body::None).await;
        let revision = revision_of(&list.map_err(|fault| self.error(fault))?);
        self.log().saw(revision);
        Ok(revision)
    }

    /// A POST or PUT of a whole object, and of its status where that is a resource of its own.
    async fn write_object(
        &self,
        method: Method,
        path: &str,
        place: &Place,
        object: Value,
    ) -> Result<Value, Fault> {
        let status = match place.source {
            Source::Custom(kind) if kubernetes::has_status_resource(kind, self.group) => {
                object.get("status").filter(|s| **s != json!({})).cloned()
            }
            _ => None,
        };
        let mut written = self.api.call(method, path, Body::Object(object)).await?;
        if let Some(status) = status.filter(|status| written.get("status") != Some(status)) {
            written["status"] = status;
            let path = format!("{}/status", place.path(self.group));
            written = self
                .api
                .call(Method::PUT, &path, Body::Object(written))
                .await?;
        }
        Ok(written)
    }

    pub(super) async fn create(&self, key: &Key, value: &str) -> StoreResult<Entry> {
        let Some(place) = Place::of(key) else {
            return Err(unsupported("Create", key));
        };
        let object = kubernetes::write(key, self.group, value).map_err(|e| malformed(key, e))?;
        let Some(object) = object else {
            return self.create_on(&place, key, value).await;
        };
        let path = place
            .source
            .collection(self.group, place.namespace.as_deref());
        for _ in 0..TRIES {
            let written = self
                .write_object(Method::POST, &path, &place, object.clone())
                .await;
            match written {
                Ok(written) => return self.written(&place, key, &written),
                Err(Fault::Status(status)) if status.reason == "AlreadyExists" => {
                    // One on its way out is in nobody's way.
                    if !self.gone(&place).await? {
                        return Err(StoreError::Exists(key.clone()));
                    }
                }
                Err(fault) => return Err(self.write_error(fault)),
            }
        }
        Err(StoreError::Exists(key.clone()))
    }

    /// Whether what was in the way is no more.
    async fn gone(&self, place: &Place) -> StoreResult<bool> {
        if !place.source.deleted_in_two_steps() {
            return Ok(false);
        }
        match self.object(place).await? {
            None => Ok(true),
            Some(object) if kubernetes::is_deleted(&object) => {
                self.finish_delete(place, &object).await?;
                Ok(true)
            }
            Some(_) => Ok(false),
        }
    }

    /// Creates what is written on an object that is somebody else's: an endpoint on its pod.
    async fn create_on(&self, place: &Place, key: &Key, value: &str) -> StoreResult<Entry> {
        if place.source != Source::Pod {
            return Err(unsupported("Create", key));
        }
        let Some(pod) = self.object(place).await? else {
            return Err(StoreError::NotFound(key.clone()));
        };
        if self
            .entry(place.source, key, &pod)
            .is_some_and(|e| has_addresses(&e))
        {
            return Err(StoreError::Exists(key.clone()));
        }
        let patch = kubernetes::pod::patch(value);
        let written = self.patch(place, key, patch, revision_of(&pod)).await?;
        self.written(place, key, &written)
    }

    pub(super) async fn update(&self, key: &Key, value: &str, expected: u64) -> StoreResult<Entry> {
        let Some(place) = Place::of(key) else {
            return Err(StoreError::NotFound(key.clone()));
        };
        if expected == 0 {
            // To the API server that is no condition.
            return Err(match self.get(key).await? {
                Some(_) => StoreError::Conflict(key.clone()),
                None => StoreError::NotFound(key.clone()),
            });
        }
        let object = kubernetes::write(key, self.group, value).map_err(|e| malformed(key, e))?;
        let Some(mut object) = object else {
            return self.update_on(&place, key, value, expected).await;
        };
        object["metadata"]["resourceVersion"] = json!(expected.to_string());
        let path = place.path(self.group);
        match self.write_object(Method::PUT, &path, &place, object).await {
            Ok(written) => self.written(&place, key, &written),
            Err(fault) => Err(self.refused(key, fault)),
        }
    }

    /// Writes on an object that is somebody else's: a node's annotations, an endpoint on its pod.
    async fn update_on(
        &self,
        place: &Place,
        key: &Key,
        value: &str,
        expected: u64,
    ) -> StoreResult<Entry> {
        let patch = match place.source {
            Source::Pod => kubernetes::pod::patch(value),
            Source::Node => {
                let Some(node) = self.object(place).await? else {
                    return Err(StoreError::NotFound(key.clone()));
                };
                if revision_of(&node) != expected {
                    return Err(StoreError::Conflict(key.clone()));
                }
                kubernetes::node::patch(value, &node)
            }
            _ => return Err(unsupported("Update", key)),
        };
        let written = self.patch(place, key, patch, expected).await?;
        self.written(place, key, &written)
    }

    /// Changes the annotations of an object that must be at a revision. Kubernetes lets the nodes' own components do that through the
    /// status (calico-compat §3.3).
    async fn patch(
        &self,
        place: &Place,
        key: &Key,
        patch: Result<Value, String>,
        expected: u64,
    ) -> StoreResult<Value> {
        let mut patch = patch.map_err(|e| malformed(key, e))?;
        patch["metadata"]["resourceVersion"] = json!(expected.to_string());
        let path = format!("{}/status", place.path(self.group));
        let written = self
            .api
            .call(Method::PATCH, &path, Body::MergePatch(patch))
            .await;
        written.map_err(|fault| self.refused(key, fault))
    }

    /// Says on a node's status that its network is there.
    pub(super) async fn network_is_up(&self, place: &Place, time: &str) -> StoreResult<()> {
        let path = format!("{}/status", place.path(self.group));
        let patch = Body::StrategicMergePatch(kubernetes::node::network_condition(true, time));
        let written = self.api.call(Method::PATCH, &path, patch).await;
        written.map(drop).map_err(|fault| self.write_error(fault))
    }

    /// Why a write of an object that was read did not succeed.
    fn refused(&self, key: &Key, fault: Fault) -> StoreError {
        match fault {
            Fault::Status(status) if status.code == 409 => StoreError::Conflict(key.clone()),
            Fault::Status(status) if status.code == 404 => StoreError::NotFound(key.clone()),
            fault => self.write_error(fault),
        }
    }

    fn written(&self, place: &Place, key: &Key, object: &Value) -> StoreResult<Entry> {
        self.entry(place.source, key, object).ok_or_else(|| {
            malformed(
                key,
                "what was written is not what it stands for".to_string(),
            )
        })
    }

    pub(super) async fn delete(&self, key: &Key, expected: Option<u64>) -> StoreResult<Entry> {
        let Some(place) = Place::of(key) else {
            return Err(StoreError::NotFound(key.clone()));
        };
        for _ in 0..TRIES {
            let Some(object) = self.object(&place).await? else {
                return Err(StoreError::NotFound(key.clone()));
            };
            if kubernetes::is_deleted(&object) && place.source.deleted_in_two_steps() {
                self.finish_delete(&place, &object).await?;
                return Err(StoreError::NotFound(key.clone()));
            }
            let Some(entry) = self.entry(place.source, key, &object) else {
                return Err(StoreError::NotFound(key.clone()));
            };
            if expected.is_some_and(|expected| expected != entry.revision) {
                return Err(StoreError::Conflict(key.clone()));
            }
            match self.delete_object(&place, key, &object, &entry).await {
                Ok(()) => return Ok(entry),
                Err(StoreError::Conflict(_)) if expected.is_none() => (),
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Conflict(key.clone()))
    }

    /// Deletes an object as it was read.
    async fn delete_object(
        &self,
        place: &Place,
        key: &Key,
        object: &Value,
        entry: &Entry,
    ) -> StoreResult<()> {
        match place.source {
            Source::Pod => {
                let patch = Ok(kubernetes::pod::removal());
                let written = self.patch(place, key, patch, entry.revision).await?;
                self.log().knows(place.source, revision_of(&written));
                return Ok(());
            }
            Source::Node | Source::Namespace | Source::ServiceAccount | Source::NetworkPolicy => {
                return Err(unsupported("Delete", key));
            }
            _ => (),
        }
        let mut last = object.clone();
        if place.source.deleted_in_two_steps() {
            let marked = kubernetes::write_ipam(key, self.group, &entry.value, true);
            if let Some(mut marked) = marked.map_err(|e| malformed(key, e))? {
                marked["metadata"]["resourceVersion"] = json!(entry.revision.to_string());
                let path = place.path(self.group);
                let written = self
                    .api
                    .call(Method::PUT, &path, Body::Object(marked))
                    .await;
                last = written.map_err(|fault| self.refused(key, fault))?;
                self.log().knows(place.source, revision_of(&last));
                return self.finish_delete(place, &last).await;
            }
        }
        self.log().deletes(key, entry.revision);
        let path = place.path(self.group);
        let answer = self.api.call(Method::DELETE, &path, exactly(&last)).await;
        if answer.is_err() {
            self.log().undelete(key);
        }
        answer.map(drop).map_err(|fault| self.refused(key, fault))
    }

    /// Deletes an object that says that it is deleted. Whether somebody else does so first is the same.
    async fn finish_delete(&self, place: &Place, object: &Value) -> StoreResult<()> {
        let path = place.path(self.group);
        match self.api.call(Method::DELETE, &path, exactly(object)).await {
            Ok(_) => Ok(()),
            Err(Fault::Status(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(fault) => Err(self.write_error(fault)),
        }
    }
}

/// That this very object is meant, as it was read.
fn exactly(object: &Value) -> Body {
    let metadata = &object["metadata"];
    Body::Object(json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]},
    }))
}

/// Whether an endpoint was written, not only derived from a pod that waits for its address.
fn has_addresses(entry: &Entry) -> bool {
    let document: Value = serde_json::from_str(&entry.value).unwrap_or_default();
    let networks = document["spec"]["ipNetworks"].as_array();
    networks.is_some_and(|n| !n.is_empty())
}

fn unsupported(operation: &'static str, key: &Key) -> StoreError {
    StoreError::Unsupported {
        operation,
        key: key.clone(),
    }
}

fn malformed(key: &Key, reason: String) -> StoreError {
    StoreError::Malformed {
        key: key.clone(),
        reason,
    }
}

/// Lists of several types, all of one revision.
pub(super) async fn list_all(
    shared: &Arc<Shared>,
    sources: Vec<Source>,
    namespace: Option<String>,
) -> StoreResult<Listing> {
    let mut lists = JoinSet::new();
    let at = match sources.len() {
        0 | 1 => None,
        _ => Some(shared.newest().await?),
    };
    let many = at.is_some();
    for source in sources {
        let (shared, namespace) = (Arc::clone(shared), namespace.clone());
        lists.spawn(async move {
            let namespace = namespace.filter(|_| source.namespaced());
            let listing = shared.list(source, namespace.as_deref(), at).await?;
            Ok::<_, StoreError>((source, listing))
        });
    }
    let mut all = Listing {
        entries: Vec::new(),
        revision: at.unwrap_or(0),
    };
    while let Some(joined) = lists.join_next().await {
        let listed = joined.map_err(|e| StoreError::Backend(format!("Kubernetes: {e}")))?;
        let (source, Some(listing)) = listed? else {
            continue;
        };
        let newest = listing.entries.iter().map(|e| e.revision).max();
        let mut log = shared.log();
        log.knows(source, newest.unwrap_or(0));
        log.saw(listing.revision);
        drop(log);
        if !many {
            all.revision = listing.revision;
        }
        all.entries.extend(listing.entries);
    }
    if all.revision == 0 {
        all.revision = shared.newest().await?;
    }
    Ok(all)
}
