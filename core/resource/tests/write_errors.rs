//! What calicoctl 3.32.1 said to bad resources (`golden/write-errors.txt`, captured), against what is said here to the same documents in
//! the same order.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use resource::{
    AnyObject, Client, ClientError, Key, Kind, MemoryStore, ParseError, Stamp, Store, StoreError,
    parse_document, validate,
};
use serde::Deserialize;
use serde_json::Value;

/// The memory store never waits here.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a future that waits"),
    }
}

fn stamp() -> Stamp {
    Stamp {
        uid: "5c8f8a38-fcc2-4f39-b7b6-f41d7b3a9317".to_string(),
        now_rfc3339: "2026-11-22T22:19:54Z".to_string(),
    }
}

fn documents(yaml: &str) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(yaml)
        .map(|document| Value::deserialize(document).unwrap())
        .collect()
}

fn apply(store: &MemoryStore, yaml: &str) {
    for document in documents(yaml) {
        let object = parse_document(document).unwrap();
        now(Client::new(store).apply(object, &stamp())).unwrap();
    }
}

struct Session {
    store: MemoryStore,
}

/// What one command said: the errors, as calicoctl lists them.
impl Session {
    fn write(&self, verb: &str, yaml: &str) -> Result<(), String> {
        let client = Client::new(&self.store);
        let mut errors = Vec::new();
        let mut parsed = Vec::new();
        for document in documents(yaml) {
            match parse_document(document) {
                Err(ParseError::Invalid { error, .. }) => parsed.push(Err(error.to_string())),
                Err(error) => return Err(error.to_string()),
                Ok(mut object) => {
                    if object.kind().namespaced() && object.metadata().namespace.is_none() {
                        object.metadata_mut().namespace = Some("default".to_string());
                    }
                    parsed.push(Ok(object));
                }
            }
        }
        for object in parsed {
            let result = object.and_then(|object: AnyObject| {
                match verb {
                    "apply" => now(client.apply(object, &stamp())).map(drop),
                    "replace" => now(client.update(object)).map(drop),
                    "create" | "create --skip-exists" => match now(client.create(object, &stamp()))
                    {
                        Err(ClientError::Store(StoreError::Exists(_))) if verb != "create" => {
                            Ok(())
                        }
                        result => result.map(drop),
                    },
                    "validate" => validate::validate(&object).map_err(ClientError::from),
                    other => panic!("{other}"),
                }
                .map_err(|e| e.to_string())
            });
            errors.extend(result.err());
        }
        said(errors, " ")
    }

    fn delete(&self, words: &str) -> Result<(), String> {
        let mut words = words.split(' ').collect::<Vec<_>>();
        let skip = words.last() == Some(&"--skip-not-exists");
        words.retain(|w| !w.starts_with('-'));
        let kind = Kind::ALL
            .iter()
            .find(|k| k.as_str().eq_ignore_ascii_case(words[0]));
        let mut errors = Vec::new();
        for name in &words[1..] {
            let key = Key::cluster(*kind.unwrap(), *name);
            match now(Client::new(&self.store).delete(&key, None)) {
                Ok(_) => (),
                Err(ClientError::Store(StoreError::NotFound(_))) if skip => (),
                Err(error) => errors.push(error.to_string()),
            }
        }
        said(errors, "\n")
    }
}

fn said(errors: Vec<String>, separator: &str) -> Result<(), String> {
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors.join(separator))
    }
}

/// calicoctl's stderr without the words that the command puts around the errors.
fn expected(stderr: &str) -> String {
    if let Some((prefix, rest)) = stderr.split_once("[")
        && prefix.ends_with(": ")
        && let Some(list) = rest.strip_suffix(']')
    {
        return list.to_string();
    }
    stderr
        .trim_end()
        .lines()
        .map(|line| {
            let prefixes = ["failed to execute command: ", "hit error: "];
            let shortened = prefixes.iter().find_map(|p| line.strip_prefix(p));
            match line.split_once("Failed to delete '") {
                Some((_, rest)) => rest.split_once("' resource: ").unwrap().1,
                None => shortened.unwrap_or(line),
            }
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn errors_are_calicoctls() {
    let session = Session {
        store: MemoryStore::new(),
    };
    apply(
        &session.store,
        "{kind: Node, apiVersion: projectcalico.org/v3, metadata: {name: node-1}}\n---\n\
         {kind: Node, apiVersion: projectcalico.org/v3, metadata: {name: node-2}}\n---\n\
         {kind: IPPool, apiVersion: projectcalico.org/v3, metadata: {name: my-pool}, \
          spec: {cidr: 10.244.0.0/16, ipipMode: CrossSubnet, natOutgoing: true}}",
    );
    now(Client::new(&session.store).ensure_initialised(&std::array::from_fn(|_| stamp()), "0"))
        .unwrap();
    let golden = include_str!("golden/write-errors.txt");
    let mut commands = 0;
    let mut wrong = String::new();
    for block in golden.split("\n\n$ ") {
        commands += 1;
        let block = block
            .trim_start_matches("$ ")
            .trim_start_matches("calicoctl ");
        let (command, output) = match block.split_once(" -f - <<EOF\n") {
            Some((verb, rest)) => {
                let (yaml, output) = rest.split_once("\nEOF\n").unwrap();
                (session.write(verb, yaml), output)
            }
            None => {
                let (line, output) = block.split_once('\n').unwrap();
                (
                    session.delete(line.strip_prefix("delete ").unwrap()),
                    output,
                )
            }
        };
        let stderr: Vec<&str> = output
            .lines()
            .filter_map(|l| l.strip_prefix("[stderr] "))
            .collect();
        let expected = match output.trim_end().ends_with("[exit 0]") {
            true => Ok(()),
            false => Err(expected(&stderr.join("\n"))),
        };
        if command != expected {
            wrong += &format!("{block}\n   said: {command:?}\nwanted: {expected:?}\n\n");
        }
        if let Err(text) = &command
            && block.starts_with("apply")
        {
            assert!(
                now(session.store.get(&Key::cluster(Kind::IpPool, "p2"))) == Ok(None),
                "a refused pool left something: {text}"
            );
        }
    }
    assert_eq!(commands, 52);
    assert!(wrong.is_empty(), "{wrong}");
}
