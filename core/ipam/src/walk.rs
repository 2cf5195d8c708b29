//! The order in which a host looks at a pool's blocks.

use ipnet::IpNet;

use crate::block;
use crate::go_random::{GoRandom, fnv1_32};
use crate::pools::Pool;

/// A pool's blocks from a host's own starting point, once around.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    pool: IpNet,
    block_size: u8,
    start: u128,
    count: u128,
    step: u128,
}

impl Walk {
    /// The walk of a host. Blocks of one address have no lasting owner, so that their walk starts anywhere (`now`).
    pub fn new(pool: &Pool, host: &str, now: u64) -> Walk {
        let count = block::blocks_in(&pool.cidr, pool.block_size);
        let seed = if pool.block_size == pool.cidr.max_prefix_len() {
            now.cast_signed()
        } else {
            i64::from(fnv1_32(host))
        };
        Walk {
            pool: pool.cidr,
            block_size: pool.block_size,
            start: GoRandom::new(seed).below(count),
            count,
            step: 0,
        }
    }

    /// How far along the walk a block is; `None` for one that is not a block of the pool.
    pub fn position(&self, cidr: &IpNet) -> Option<u128> {
        if cidr.prefix_len() != self.block_size || !self.pool.contains(cidr) {
            return None;
        }
        let offset = match (self.pool, cidr) {
            (IpNet::V4(pool), IpNet::V4(net)) => {
                u128::from(u32::from(net.network()) - u32::from(pool.network()))
            }
            (IpNet::V6(pool), IpNet::V6(net)) => {
                u128::from(net.network()) - u128::from(pool.network())
            }
            (IpNet::V4(_) | IpNet::V6(_), IpNet::V4(_) | IpNet::V6(_)) => return None,
        };
        let index = offset >> (self.pool.max_prefix_len() - self.block_size);
        Some(if index >= self.start {
            index - self.start
        } else {
            self.count - self.start + index
        })
    }
}

impl Iterator for Walk {
    type Item = IpNet;

    fn next(&mut self) -> Option<IpNet> {
        if self.step == self.count {
            return None;
        }
        let to_end = self.count - self.start;
        let index = if self.step < to_end {
            self.start + self.step
        } else {
            self.step - to_end
        };
        self.step += 1;
        Some(block::block_at(&self.pool, self.block_size, index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(cidr: &str, block_size: u8) -> Pool {
        Pool {
            name: "p".to_string(),
            cidr: cidr.parse().unwrap(),
            block_size,
        }
    }

    #[test]
    fn a_host_s_first_block_is_calico_s() {
        let pool = pool("10.244.0.0/16", 26);
        for (host, index, first) in [
            ("node-1", 338, "10.244.84.128/26"),
            ("node-2", 988, "10.244.247.0/26"),
            ("kube-node-1", 542, "10.244.135.128/26"),
        ] {
            let walk = Walk::new(&pool, host, 0);
            assert_eq!(walk.start, index, "{host}");
            assert_eq!(walk.clone().next().unwrap().to_string(), first, "{host}");
        }
    }

    #[test]
    fn a_walk_visits_every_block_once_and_knows_where_each_is() {
        for (cidr, size) in [
            ("10.200.0.0/23", 26),
            ("10.0.0.0/26", 26),
            ("10.0.0.0/27", 32),
            ("fd00::/118", 122),
        ] {
            let pool = pool(cidr, size);
            let walk = Walk::new(&pool, "ip-10-20-1-84", 3);
            let mut blocks: Vec<IpNet> = walk.clone().collect();
            for (position, cidr) in blocks.iter().enumerate() {
                assert_eq!(walk.position(cidr), Some(position as u128), "{cidr}");
            }
            blocks.sort();
            blocks.dedup();
            assert_eq!(blocks.len() as u128, block::blocks_in(&pool.cidr, size));
        }
        assert_eq!(
            Walk::new(&pool("10.0.0.0/24", 26), "h", 0).position(&"10.0.1.0/26".parse().unwrap()),
            None
        );
    }
}
