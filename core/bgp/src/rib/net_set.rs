//! Which nets a peer has a path in, so that losing the peer needs no walk over the table.

/// A list while it is short against the table, then one bit a net.
pub(crate) enum NetSet {
    /// May repeat, and may hold nets whose path has gone: [`NetSet::take`] callers check.
    List(Vec<u32>),
    Bits(Vec<u64>),
}

impl Default for NetSet {
    fn default() -> Self {
        NetSet::List(Vec::new())
    }
}

impl NetSet {
    /// Notes that the peer has a path in `net`, of `nets` there are.
    #[inline]
    pub fn add(&mut self, net: u32, nets: usize) {
        match self {
            NetSet::List(list) => {
                list.push(net);
                if list.len() > 1024 && list.len() > nets / 32 {
                    let mut bits = Vec::new();
                    for net in std::mem::take(list) {
                        set(&mut bits, net);
                    }
                    *self = NetSet::Bits(bits);
                }
            }
            NetSet::Bits(bits) => set(bits, net),
        }
    }

    /// Notes that the path has gone.
    #[inline]
    pub fn remove(&mut self, net: u32) {
        match self {
            NetSet::List(_) => {}
            NetSet::Bits(bits) => {
                if let Some(word) = bits.get_mut(net as usize / 64) {
                    *word &= !(1 << (net % 64));
                }
            }
        }
    }

    /// All nets, ordered, each once; some may not hold a path of the peer any more.
    pub fn nets(&self) -> Vec<u32> {
        match self {
            NetSet::List(list) => {
                let mut list = list.clone();
                list.sort_unstable();
                list.dedup();
                list
            }
            NetSet::Bits(bits) => bits
                .iter()
                .enumerate()
                .filter(|(_, word)| **word != 0)
                .flat_map(|(i, word)| {
                    (0..64)
                        .filter(move |bit| word >> bit & 1 == 1)
                        .map(move |bit| i as u32 * 64 + bit)
                })
                .collect(),
        }
    }

    /// How long the list has become against `held` paths: when to call [`NetSet::replace`].
    pub fn is_bloated(&self, held: u32) -> bool {
        matches!(self, NetSet::List(list) if list.len() > 64 + 2 * held as usize)
    }

    /// Puts the checked nets in place of what is there.
    pub fn replace(&mut self, nets: Vec<u32>) {
        *self = NetSet::List(nets);
    }
}

fn set(bits: &mut Vec<u64>, net: u32) {
    let at = net as usize / 64;
    if at >= bits.len() {
        bits.resize((at + 1).max(bits.len() * 5 / 4), 0);
    }
    bits[at] |= 1 << (net % 64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_becomes_bits() {
        let mut set = NetSet::default();
        for net in (0..3000).rev() {
            set.add(net * 3, 9000);
        }
        assert!(matches!(set, NetSet::Bits(_)));
        set.remove(3);
        let nets = set.nets();
        assert_eq!(nets.len(), 2999);
        assert_eq!(&nets[..3], &[0, 6, 9]);
    }

    #[test]
    fn list_repeats_until_replaced() {
        let mut set = NetSet::default();
        for _ in 0..100 {
            set.add(7, 1_000_000);
        }
        assert_eq!(set.nets(), vec![7]);
        assert!(set.is_bloated(1));
        set.replace(vec![7]);
        assert!(!set.is_bloated(1));
    }
}
