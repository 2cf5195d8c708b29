//! One block: which addresses it has, who has them, and the order in which free ones are given out.
//!
//! `unallocated` is a queue: addresses are taken from its head and come back at its tail, so that a released address rests
//! as long as it can. Allocations point into `attributes`, which holds each distinct owner once (Calico: block bytes).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use resource::kinds::{AllocationAttribute, Block};

use crate::claimant::Claimant;
use crate::time;

/// Who gets an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The handle by which it is released again.
    pub handle: Option<String>,
    /// `node`, `pod`, `namespace`, `timestamp`, `type`.
    pub attributes: BTreeMap<String, String>,
}

/// One released address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// The address.
    pub address: IpAddr,
    /// The handle that it had.
    pub handle: Option<String>,
}

/// How many addresses a block of this prefix length has.
pub fn size(cidr: &IpNet) -> usize {
    1 << (cidr.max_prefix_len() - cidr.prefix_len())
}

/// The address at an ordinal.
pub fn address(cidr: &IpNet, ordinal: usize) -> IpAddr {
    let offset = u128::try_from(ordinal).expect("usize is not wider than u128");
    nth(cidr, offset)
}

/// The ordinal of an address of the block.
pub fn ordinal(cidr: &IpNet, address: IpAddr) -> Option<usize> {
    let offset = match (cidr, address) {
        (IpNet::V4(net), IpAddr::V4(ip)) if net.contains(&ip) => {
            u128::from(u32::from(ip) - u32::from(net.network()))
        }
        (IpNet::V6(net), IpAddr::V6(ip)) if net.contains(&ip) => {
            u128::from(ip) - u128::from(net.network())
        }
        (IpNet::V4(_) | IpNet::V6(_), IpAddr::V4(_) | IpAddr::V6(_)) => return None,
    };
    usize::try_from(offset).ok()
}

/// The block of this prefix length that an address lies in.
pub fn containing(address: IpAddr, prefix_length: u8) -> Option<IpNet> {
    IpNet::new(address, prefix_length)
        .ok()
        .map(|net| net.trunc())
}

/// The address `offset` places after the network's first.
fn nth(cidr: &IpNet, offset: u128) -> IpAddr {
    match cidr {
        IpNet::V4(net) => {
            let offset = u32::try_from(offset).expect("an IPv4 network has at most 2^32 addresses");
            IpAddr::V4(Ipv4Addr::from(
                u32::from(net.network()).wrapping_add(offset),
            ))
        }
        IpNet::V6(net) => IpAddr::V6(Ipv6Addr::from(
            u128::from(net.network()).wrapping_add(offset),
        )),
    }
}

/// How many blocks of this prefix length a pool has.
pub fn blocks_in(pool: &IpNet, prefix_length: u8) -> u128 {
    let bits = u32::from(prefix_length.saturating_sub(pool.prefix_len()));
    1u128.checked_shl(bits).unwrap_or(u128::MAX)
}

/// The pool's block at an index.
pub fn block_at(pool: &IpNet, prefix_length: u8, index: u128) -> IpNet {
    let shift = u32::from(pool.max_prefix_len() - prefix_length);
    let network = nth(pool, index << shift);
    match network {
        IpAddr::V4(ip) => {
            IpNet::V4(Ipv4Net::new(ip, prefix_length).expect("a pool's block size is valid"))
        }
        IpAddr::V6(ip) => {
            IpNet::V6(Ipv6Net::new(ip, prefix_length).expect("a pool's block size is valid"))
        }
    }
}

/// A new block, all free, claimed.
pub fn new<'a>(cidr: IpNet, claimant: impl Into<Claimant<'a>>, now: u64) -> Block {
    Block {
        cidr,
        affinity: Some(claimant.into().to_string()),
        affinity_claim_time: Some(time::rfc3339(now)),
        allocations: vec![None; size(&cidr)],
        unallocated: (0..size(&cidr)).collect(),
        attributes: Vec::new(),
        sequence_number: now,
        sequence_number_for_allocation: BTreeMap::new(),
        deleted: false,
    }
}

/// Who has the block.
pub fn claimant(block: &Block) -> Option<Claimant<'_>> {
    Claimant::from_affinity(block.affinity.as_deref()?)
}

/// Whether this one has the block.
pub fn is_of<'a>(block: &Block, claimant: impl Into<Claimant<'a>>) -> bool {
    self::claimant(block) == Some(claimant.into())
}

/// The handle of the addresses of a block that Windows keeps for itself.
pub const WINDOWS_RESERVED: &str = "windows-reserved-ipam-handle";

/// Keeps the first three and the last address for Windows' own use, where that leaves any (Calico: host reserved).
pub fn reserve_for_windows(block: &mut Block) {
    let size = size(&block.cidr);
    if size <= 4 {
        return;
    }
    let owner = Owner {
        handle: Some(WINDOWS_RESERVED.to_string()),
        attributes: BTreeMap::from([("note".to_string(), "windows host rsvd".to_string())]),
    };
    for ordinal in [0, 1, 2, size - 1] {
        if block.allocations[ordinal].is_none() {
            allocate(block, ordinal, &owner);
        }
    }
}

/// Whether nothing is allocated, but for what Windows keeps.
pub fn is_empty(block: &Block) -> bool {
    block.allocations.iter().flatten().all(|&index| {
        let attribute = block.attributes.get(index);
        attribute.and_then(|a| a.handle_id.as_deref()) == Some(WINDOWS_RESERVED)
    })
}

/// A handle without what old versions put behind it (`\r\n` and an interface's name).
pub fn plain_handle(handle: &str) -> &str {
    handle.split('\r').next().unwrap_or(handle)
}

fn is_reserved(block: &Block, ordinal: usize, reserved: &[IpNet]) -> bool {
    let address = address(&block.cidr, ordinal);
    reserved.iter().any(|net| net.contains(&address))
}

/// Whether reservations cover a whole block, alone or together.
pub fn is_all_reserved(cidr: &IpNet, reserved: &[IpNet]) -> bool {
    let within: Vec<&IpNet> = reserved
        .iter()
        .filter(|net| net.contains(cidr) || cidr.contains(*net))
        .collect();
    let covered = |ordinal: usize| {
        let address = address(cidr, ordinal);
        within.iter().any(|net| net.contains(&address))
    };
    !within.is_empty() && (0..size(cidr)).all(covered)
}

/// Whether a free address is left that no reservation covers.
pub fn has_room(block: &Block, reserved: &[IpNet]) -> bool {
    block
        .unallocated
        .iter()
        .any(|&o| !is_reserved(block, o, reserved))
}

/// Gives up to `count` addresses from the head of the queue to `owner`; reserved ones keep their place.
pub fn assign_next(
    block: &mut Block,
    count: usize,
    owner: &Owner,
    reserved: &[IpNet],
) -> Vec<IpAddr> {
    let free = block.unallocated.iter().copied();
    let chosen: Vec<usize> = free
        .filter(|&o| !is_reserved(block, o, reserved))
        .take(count)
        .collect();
    for &ordinal in &chosen {
        allocate(block, ordinal, owner);
    }
    chosen.iter().map(|&o| address(&block.cidr, o)).collect()
}

/// Gives this address to `owner`; false when it is not free.
pub fn assign_address(block: &mut Block, wanted: IpAddr, owner: &Owner) -> bool {
    let free = ordinal(&block.cidr, wanted).filter(|o| block.unallocated.contains(o));
    if let Some(ordinal) = free {
        allocate(block, ordinal, owner);
    }
    free.is_some()
}

fn allocate(block: &mut Block, ordinal: usize, owner: &Owner) {
    let attribute = AllocationAttribute {
        handle_id: owner.handle.clone(),
        secondary: Some(owner.attributes.clone()),
        others: BTreeMap::new(),
    };
    let known = block.attributes.iter().position(|a| *a == attribute);
    let index = known.unwrap_or_else(|| {
        block.attributes.push(attribute);
        block.attributes.len() - 1
    });
    block.unallocated.retain(|&o| o != ordinal);
    block.allocations[ordinal] = Some(index);
    let sequence = block.sequence_number;
    block
        .sequence_number_for_allocation
        .insert(ordinal.to_string(), sequence);
}

/// The owner of an address of the block.
pub fn owner(block: &Block, address: IpAddr) -> Option<&AllocationAttribute> {
    let index = (*block.allocations.get(ordinal(&block.cidr, address)?)?)?;
    block.attributes.get(index)
}

/// The sequence number at which an address was given out.
pub fn allocation_sequence(block: &Block, address: IpAddr) -> Option<u64> {
    let ordinal = ordinal(&block.cidr, address)?.to_string();
    block.sequence_number_for_allocation.get(&ordinal).copied()
}

/// The addresses that a handle has here, ascending.
pub fn addresses_of(block: &Block, handle: &str) -> Vec<IpAddr> {
    let has = |index: usize| {
        let attribute = block.attributes.get(index);
        let known = attribute.and_then(|a| a.handle_id.as_deref());
        known.map(plain_handle) == Some(plain_handle(handle))
    };
    let allocations = block.allocations.iter().enumerate();
    allocations
        .filter(|(_, index)| index.is_some_and(has))
        .map(|(ordinal, _)| address(&block.cidr, ordinal))
        .collect()
}

/// Frees these addresses, in this order, to the tail of the queue; those that are free already are passed over.
pub fn release(block: &mut Block, addresses: &[IpAddr]) -> Vec<Released> {
    let mut released = Vec::new();
    for &address in addresses {
        let Some(ordinal) = ordinal(&block.cidr, address) else {
            continue;
        };
        let Some(index) = block.allocations[ordinal].take() else {
            continue;
        };
        block.unallocated.push(ordinal);
        block
            .sequence_number_for_allocation
            .remove(&ordinal.to_string());
        let handle = block
            .attributes
            .get(index)
            .and_then(|a| a.handle_id.clone());
        released.push(Released { address, handle });
    }
    drop_unused_attributes(block);
    released
}

fn drop_unused_attributes(block: &mut Block) {
    let used: BTreeSet<usize> = block.allocations.iter().copied().flatten().collect();
    let mut index = 0;
    block.attributes.retain(|_| {
        index += 1;
        used.contains(&(index - 1))
    });
    let renumbered: BTreeMap<usize, usize> = used
        .iter()
        .enumerate()
        .map(|(new, &old)| (old, new))
        .collect();
    for allocation in block.allocations.iter_mut().flatten() {
        *allocation = renumbered[allocation];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn owner_named(handle: &str) -> Owner {
        Owner {
            handle: Some(handle.to_string()),
            attributes: BTreeMap::from([("node".to_string(), "n".to_string())]),
        }
    }

    #[test]
    fn addresses_and_ordinals() {
        let cidr = net("10.244.84.128/26");
        assert_eq!(size(&cidr), 64);
        assert_eq!(address(&cidr, 63), ip("10.244.84.191"));
        assert_eq!(ordinal(&cidr, ip("10.244.84.191")), Some(63));
        assert_eq!(ordinal(&cidr, ip("10.244.84.192")), None);
        assert_eq!(ordinal(&cidr, ip("fd00::1")), None);
        assert_eq!(address(&net("fd00:10::/122"), 63), ip("fd00:10::3f"));
        assert_eq!(ordinal(&net("fd00:10::/122"), ip("fd00:10::3f")), Some(63));
        assert_eq!(containing(ip("10.244.84.130"), 26), Some(cidr));
    }

    #[test]
    fn a_pool_s_blocks() {
        let pool = net("10.200.0.0/23");
        assert_eq!(blocks_in(&pool, 26), 8);
        assert_eq!(block_at(&pool, 26, 7), net("10.200.1.192/26"));
        assert_eq!(blocks_in(&net("10.0.0.0/32"), 32), 1);
        assert_eq!(blocks_in(&net("0.0.0.0/0"), 32), 1 << 32);
        assert_eq!(
            block_at(&net("fd00::/48"), 122, (1 << 74) - 1),
            net("fd00:0:0:ffff:ffff:ffff:ffff:ffc0/122")
        );
    }

    #[test]
    fn the_queue_is_first_in_first_out_and_reserved_addresses_keep_their_place() {
        let mut block = new(net("10.0.0.0/29"), "n", 7);
        let reserved = [net("10.0.0.0/31"), net("10.0.0.3/32")];
        let given = assign_next(&mut block, 2, &owner_named("a"), &reserved);
        assert_eq!(given, [ip("10.0.0.2"), ip("10.0.0.4")]);
        assert_eq!(block.unallocated, [0, 1, 3, 5, 6, 7]);
        release(&mut block, &[ip("10.0.0.2")]);
        assert_eq!(block.unallocated, [0, 1, 3, 5, 6, 7, 2]);
        assert!(!has_room(&block, &[net("10.0.0.0/29")]));
        assert!(has_room(&block, &reserved));
    }

    #[test]
    fn equal_owners_share_an_attribute_and_unused_ones_go() {
        let mut block = new(net("10.0.0.0/29"), "n", 7);
        for handle in ["a", "a", "b", "c"] {
            assign_next(&mut block, 1, &owner_named(handle), &[]);
        }
        assert_eq!(block.attributes.len(), 3);
        assert_eq!(block.allocations[..4], [Some(0), Some(0), Some(1), Some(2)]);
        release(&mut block, &[ip("10.0.0.0")]);
        assert_eq!(block.attributes.len(), 3, "the other address still has it");
        let freed = release(
            &mut block,
            &[ip("10.0.0.1"), ip("10.0.0.1"), ip("10.9.9.9")],
        );
        assert_eq!(
            freed,
            [Released {
                address: ip("10.0.0.1"),
                handle: Some("a".to_string())
            }]
        );
        assert_eq!(block.allocations[..4], [None, None, Some(0), Some(1)]);
        assert_eq!(addresses_of(&block, "c"), [ip("10.0.0.3")]);
        assert!(
            !assign_address(&mut block, ip("10.0.0.3"), &owner_named("d")),
            "taken"
        );
        assert!(assign_address(
            &mut block,
            ip("10.0.0.7"),
            &owner_named("d")
        ));
        assert_eq!(
            owner(&block, ip("10.0.0.7")).unwrap().handle_id.as_deref(),
            Some("d")
        );
    }
}
