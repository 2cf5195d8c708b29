//! The `ipam` commands: this file has `show` and `configure`.

pub mod check;
pub mod collect;
pub mod release;
mod report;
pub mod split;

use std::net::IpAddr;

use ipam::block;
use ipnet::IpNet;
use resource::kinds::Block;
use resource::{Kind, Store};
use serde_json::Value;
use store::block_on;

use crate::args::Args;
use crate::client::Client;
use crate::grid;
use crate::world::{Failure, World};

/// Shows how much of each pool is in use, or who has an address.
///
/// # Errors
/// A store that cannot be read; what is no address.
pub fn show<S: Store + Sync>(
    args: &Args,
    client: &Client<'_, S>,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    if let Some(address) = args.get("ip") {
        return show_address(address, client, world);
    }
    if args.has("show-configuration") {
        return show_configuration(client, world);
    }
    if args.has("show-borrowed") {
        return show_borrowed(&blocks(client)?, world);
    }
    show_usage(args.has("show-blocks"), client, world)
}

/// Prints how full the pools are, and with `each` the blocks too.
///
/// # Errors
/// The store's.
pub fn show_usage<S: Store + Sync>(
    each: bool,
    client: &Client<'_, S>,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let blocks = blocks(client)?;
    let (pools, _) = client.list(Kind::IpPool, None).map_err(Failure::message)?;
    let rows = usage(&pools, &blocks, each);
    world.print(grid::draw(
        &["GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS FREE"],
        &rows,
    ))
}

fn blocks<S: Store + Sync>(client: &Client<'_, S>) -> Result<Vec<Block>, Failure> {
    block_on(client.ipam.all_blocks()).map_err(Failure::message)
}

fn show_address<S: Store + Sync>(
    text: &str,
    client: &Client<'_, S>,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let address = address(text, world)?;
    let owner = block_on(client.ipam.owner_of(address)).map_err(Failure::message)?;
    let Some(owner) = owner else {
        return world.print(format_args!("{address} is not assigned\n"));
    };
    world.print(format_args!("IP {address} is in use\n"))?;
    let handle = owner.handle_id.as_deref().unwrap_or("<none>");
    world.print(format_args!("Handle ID: {handle}\n"))?;
    let attributes = owner.secondary.unwrap_or_default();
    if attributes.is_empty() {
        return Ok(());
    }
    world.print("Active Owner Attributes:\n")?;
    for (key, value) in attributes {
        world.print(format_args!("  {key}: {value}\n"))?;
    }
    Ok(())
}

fn show_borrowed(blocks: &[Block], world: &mut World<'_>) -> Result<(), Failure> {
    let (rows, unclassified) = borrowed(blocks);
    world.print(grid::draw(
        &[
            "IP",
            "BORROWING-NODE",
            "BLOCK",
            "BLOCK OWNER",
            "TYPE",
            "ALLOCATED-TO",
        ],
        &rows,
    ))?;
    if unclassified > 0 {
        world.print(format_args!(
            "\nNote: found {unclassified} IP allocations without an explicit node association. Unable to determine if they are borrowed.\n"
        ))?;
    }
    Ok(())
}

/// Changes the configuration of address management.
///
/// # Errors
/// Values that are none, or that do not go together; nothing is written then.
pub fn configure<S: Store + Sync>(
    args: &Args,
    client: &Client<'_, S>,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let options = [
        "strictaffinity",
        "max-blocks-per-host",
        "kubevirt-ip-persistence",
    ];
    if !options.iter().any(|option| args.has(option)) {
        return Err(Failure::message(
            "at least one configuration option must be specified",
        ));
    }
    let mut config = block_on(client.ipam.config()).map_err(Failure::message)?;
    let mut said = String::new();
    if let Some(text) = args.get("strictaffinity") {
        config.strict_affinity = text.parse().map_err(|_| {
            Failure::message("invalid value. Use true or false to set strictaffinity")
        })?;
        said += &format!(
            "Successfully set StrictAffinity to: {}\n",
            config.strict_affinity
        );
    }
    if let Some(text) = args.get("max-blocks-per-host") {
        config.max_blocks_per_host = text
            .parse()
            .map_err(|_| Failure::message("invalid value for maxblockhost. Use a valid number"))?;
        said += &format!(
            "Successfully set MaxBlocksPerHost to: {}\n",
            config.max_blocks_per_host
        );
    }
    if let Some(text) = args.get("kubevirt-ip-persistence") {
        if !["Enabled", "Disabled"].contains(&text) {
            return Err(Failure::message(
                "invalid value for --kubevirt-ip-persistence. Use Enabled or Disabled",
            ));
        }
        config.kube_virt_vm_address_persistence = Some(text.to_string());
        said += &format!("Successfully set KubeVirtVMAddressPersistence to: {text}\n");
    }
    if config.max_blocks_per_host > 0 && !config.strict_affinity {
        return Err(Failure::message(
            "error: MaxBlocksPerHost requires StrictAffinity to be enabled",
        ));
    }
    if !config.strict_affinity && !config.auto_allocate_blocks {
        return Err(Failure::message(
            "error: Cannot disable 'StrictAffinity' and 'AutoAllocateBlocks' at the same time",
        ));
    }
    block_on(client.ipam.set_config(&config)).map_err(Failure::message)?;
    world.print(said)
}

/// An address that the user wrote.
fn address(text: &str, world: &mut World<'_>) -> Result<IpAddr, Failure> {
    match text.parse() {
        Ok(address) => Ok(address),
        Err(_) => {
            world.print(format_args!(
                "Error executing command: invalid IP address specified: {text}\n"
            ))?;
            Err(Failure::Told)
        }
    }
}

fn show_configuration<S: Store + Sync>(
    client: &Client<'_, S>,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let config = block_on(client.ipam.config()).map_err(Failure::message)?;
    let persistence = config
        .kube_virt_vm_address_persistence
        .unwrap_or_else(|| "Enabled".to_string());
    let rows = [
        ("StrictAffinity", config.strict_affinity.to_string()),
        (
            "AutoAllocateBlocks",
            config.auto_allocate_blocks.to_string(),
        ),
        ("MaxBlocksPerHost", config.max_blocks_per_host.to_string()),
        // calicoctl prints the address of its own variable here.
        ("KubeVirtVMAddressPersistence", persistence),
    ];
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(property, value)| vec![property.to_string(), value])
        .collect();
    world.print(grid::draw(&["PROPERTY", "VALUE"], &rows))
}

/// A row for each pool, and with `each` rows for its blocks, and for blocks of no pool.
fn usage(pools: &[Value], blocks: &[Block], each: bool) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut left: Vec<&Block> = blocks.iter().collect();
    let cidrs = pools
        .iter()
        .filter_map(|pool| pool.pointer("/spec/cidr")?.as_str()?.parse::<IpNet>().ok());
    for cidr in cidrs {
        let (within, without): (Vec<&Block>, Vec<&Block>) = left
            .into_iter()
            .partition(|block| cidr.contains(&block.cidr));
        let used: usize = within.iter().map(|block| in_use(block)).sum();
        rows.push(row("IP Pool", &cidr, used));
        if each {
            rows.extend(within.iter().map(|b| row("Block", &b.cidr, in_use(b))));
        }
        left = without;
    }
    if each {
        rows.extend(left.iter().map(|b| row("Block", &b.cidr, in_use(b))));
    }
    rows
}

fn in_use(block: &Block) -> usize {
    block::size(&block.cidr) - block.unallocated.len()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "these are shown with five digits"
)]
fn row(grouping: &str, cidr: &IpNet, used: usize) -> Vec<String> {
    let host_bits = cidr.max_prefix_len() - cidr.prefix_len();
    let total = 2f64.powi(i32::from(host_bits));
    let used = used as f64;
    let share = |part: f64| {
        format!(
            "{} ({:.0}%)",
            five_digits(part),
            (100.0 * part / total).round_ties_even()
        )
    };
    vec![
        grouping.to_string(),
        cidr.to_string(),
        five_digits(total),
        share(used),
        share(total - used),
    ]
}

/// C's `%.5g`.
fn five_digits(number: f64) -> String {
    let scientific = format!("{number:.4e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text.to_string(),
    };
    if (-4..5).contains(&exponent) {
        let decimals = usize::try_from(4 - exponent).unwrap_or(0);
        return trimmed(&format!("{number:.decimals$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs())
}

/// A row for each address whose node is not the owner of its block, and how many addresses name no node.
fn borrowed(blocks: &[Block]) -> (Vec<Vec<String>>, usize) {
    let mut rows = Vec::new();
    let mut unclassified = 0;
    for stored in blocks {
        let owner = stored.affinity.as_deref().unwrap_or("");
        let owner = owner.strip_prefix("host:").unwrap_or(owner);
        for allocation in ipam::survey::allocations(stored) {
            let text = |key: &str| allocation.attribute(key).unwrap_or_default().to_string();
            let node = text("node");
            if node.is_empty() {
                unclassified += 1;
                continue;
            }
            if node == owner {
                continue;
            }
            let pod = text("pod");
            let (kind, to) = if pod.is_empty() {
                (text("type"), String::new())
            } else {
                ("pod".to_string(), format!("{}/{pod}", text("namespace")))
            };
            rows.push(vec![
                allocation.address.to_string(),
                node,
                stored.cidr.to_string(),
                owner.to_string(),
                kind,
                to,
            ]);
        }
    }
    (rows, unclassified)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_five_digits() {
        for (number, expected) in [
            (0.0, "0"),
            (64.0, "64"),
            (65536.0, "65536"),
            (131_072.0, "1.3107e+05"),
            (1_048_576.0, "1.0486e+06"),
            (18_446_744_073_709_551_616.0, "1.8447e+19"),
        ] {
            assert_eq!(five_digits(number), expected);
        }
    }

    #[test]
    fn rows_as_captured() {
        let cidr = "10.244.84.128/26".parse().unwrap();
        assert_eq!(
            row("Block", &cidr, 1),
            ["Block", "10.244.84.128/26", "64", "1 (2%)", "63 (98%)"]
        );
        let cidr = "10.244.0.0/16".parse().unwrap();
        assert_eq!(
            row("IP Pool", &cidr, 1),
            [
                "IP Pool",
                "10.244.0.0/16",
                "65536",
                "1 (0%)",
                "65535 (100%)"
            ]
        );
    }
}
