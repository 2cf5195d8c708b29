//! `ipam split`: one pool becomes several; its blocks and addresses stay as they are.

use ipnet::IpNet;
use resource::kinds::IpPool;
use resource::{Key, Kind, Metadata, Object, Store, StoreError};
use serde_json::Value;
use store::block_on;

use crate::args::Args;
use crate::client::{Client, stamp};
use crate::version;
use crate::world::{Failure, World};

/// Splits the pool that is named.
///
/// The children are written before the parent goes, past the check for overlap: a command that is killed half-way is run
/// again, and finishes.
///
/// # Errors
/// A datastore that is not locked; a number that is no power of two, or too great; no such pool. Nothing is changed then.
pub fn run<S: Store + Sync>(
    args: &Args,
    client: &Client<'_, S>,
    store: &S,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let ready = version::information(client)
        .ok()
        .and_then(|information| information.spec.datastore_ready);
    if ready != Some(false) {
        return Err(Failure::message(
            "datastore is not locked. Run the `calicoctl datastore migrate lock` command in order split the IP pools",
        ));
    }
    let text = args.positionals.first().map_or("", String::as_str);
    let count: u32 = text.parse().map_err(|_| {
        Failure::message(format!(
            "error reading number to split IP pools into. {text} is not a valid number: strconv.Atoi: parsing \"{text}\": invalid syntax"
        ))
    })?;
    let parent = named(args, client)?;
    if count < 2 || !count.is_power_of_two() {
        return Err(Failure::message(format!(
            "error splitting the CIDR {} into {count} CIDRs: number to split CIDR into is not a valid power of 2: {count}",
            parent.spec.cidr
        )));
    }
    let children = children(&parent, count)?;
    let name = &parent.metadata.name;
    for child in &children {
        create(child, store, world)?;
    }
    let revision = parent
        .metadata
        .resource_version
        .as_deref()
        .and_then(|revision| revision.parse().ok());
    block_on(store.delete(&parent.key(), revision)).map_err(Failure::message)?;
    // calicoctl has no line end here.
    world.print(format_args!(
        "IP Pool {name} was successfully split into {count} smaller pools."
    ))?;
    for child in &children {
        world.print(format_args!(
            "Created {} with CIDR {}.\n",
            child.metadata.name, child.spec.cidr
        ))?;
    }
    world.print("Please refer to the documentation for final steps.")
}

/// The pool with this CIDR or name.
fn named<S: Store + Sync>(args: &Args, client: &Client<'_, S>) -> Result<IpPool, Failure> {
    let (cidr, name) = (args.get("cidr"), args.get("name"));
    if cidr.is_none() && name.is_none() {
        return Err(Failure::message(
            "no name or CIDR provided. Provide a name or CIDR to denote the IP pool to split",
        ));
    }
    let (pools, _) = client.list(Kind::IpPool, None).map_err(Failure::message)?;
    let read = |value: Value| IpPool::from_value(value).map_err(Failure::message);
    let pools: Vec<IpPool> = pools.into_iter().map(read).collect::<Result<_, _>>()?;
    let is = |pool: &IpPool, cidr: &str| {
        let wanted = cidr.parse::<IpNet>();
        wanted.is_ok() && pool.spec.cidr.parse::<IpNet>() == wanted
    };
    if let Some(name) = name
        && !pools.iter().any(|pool| pool.metadata.name == name)
    {
        return Err(Failure::message(format!(
            "unable to find IP pool with name {name}: {} with error: <nil>",
            StoreError::NotFound(Key::cluster(Kind::IpPool, name))
        )));
    }
    let found = pools.into_iter().find(|pool| {
        name.is_none_or(|name| pool.metadata.name == name) && cidr.is_none_or(|cidr| is(pool, cidr))
    });
    found.ok_or_else(|| {
        Failure::message(format!(
            "unable to find IP pool {} covering the specified CIDR {}",
            name.unwrap_or_default(),
            cidr.unwrap_or_default()
        ))
    })
}

/// Equal parts, each at least a block.
fn children(parent: &IpPool, count: u32) -> Result<Vec<IpPool>, Failure> {
    let name = &parent.metadata.name;
    let cidr: IpNet = parent.spec.cidr.parse().map_err(|error| {
        Failure::message(format!("IP pool {name} has an invalid CIDR: {error}"))
    })?;
    let bits = u8::try_from(count.trailing_zeros()).expect("a u32 has 32 bits");
    let length = cidr.prefix_len() + bits;
    let smallest = parent.spec.block_size.unwrap_or(cidr.max_prefix_len());
    if length > smallest {
        return Err(Failure::message(format!(
            "error using unsafe create to make split pool with cidr {}/{length}: error with field IPPool.Spec.CIDR = '{}/{length}' (IP pool size is too small for use with Calico IPAM. It must be equal to or greater than the block size.)",
            cidr.network(),
            cidr.network()
        )));
    }
    let part = |index: u32| {
        let mut spec = parent.spec.clone();
        spec.cidr = ipam::block::block_at(&cidr, length, u128::from(index)).to_string();
        let metadata = Metadata {
            labels: parent.metadata.labels.clone(),
            annotations: parent.metadata.annotations.clone(),
            ..Metadata::named(format!("split-{name}-{index}"))
        };
        Object::new(metadata, spec)
    };
    Ok((0..count).map(part).collect())
}

fn create<S: Store + Sync>(child: &IpPool, store: &S, world: &World<'_>) -> Result<(), Failure> {
    let stamp = stamp(world).map_err(Failure::message)?;
    let mut stamped = child.clone();
    stamped.metadata.uid = Some(stamp.uid);
    stamped.metadata.creation_timestamp = Some(stamp.now_rfc3339);
    let key: Key = stamped.key();
    match block_on(store.create(&key, &stamped.to_stored())) {
        Ok(_) => Ok(()),
        // Left by a split that was killed: the same, or somebody else's.
        Err(StoreError::Exists(key)) => {
            let entry = block_on(store.get(&key)).map_err(Failure::message)?;
            let there = entry.as_ref().map(IpPool::from_entry).transpose();
            match there.map_err(Failure::message)? {
                Some(there) if there.spec == child.spec => Ok(()),
                Some(_) | None => Err(Failure::message(format!(
                    "resource already exists: {key} with error: <nil>"
                ))),
            }
        }
        Err(error) => Err(Failure::message(error)),
    }
}
