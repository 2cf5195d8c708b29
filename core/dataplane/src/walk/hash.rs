//! The kernel's `jhash`, for keys of at most twelve bytes. Source: Bob Jenkins, "Hash functions for hash table lookup" (lookup3).

/// Where lookup3 starts.
const START: u32 = 0xdead_beef;

/// The hash of a short key.
fn jhash(key: &[u8], seed: u32) -> u32 {
    debug_assert!(key.len() <= 12, "longer keys need lookup3's mixing rounds");
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let word = |at: usize| {
        let bytes = [0, 1, 2, 3].map(|offset| key.get(at + offset).copied().unwrap_or(0));
        u32::from_le_bytes(bytes)
    };
    let start = START.wrapping_add(length).wrapping_add(seed);
    let (mut a, mut b, mut c) = (
        start.wrapping_add(word(0)),
        start.wrapping_add(word(4)),
        start.wrapping_add(word(8)),
    );
    if key.is_empty() {
        return c;
    }
    let step = |x: &mut u32, y: u32, bits: u32| *x = (*x ^ y).wrapping_sub(y.rotate_left(bits));
    step(&mut c, b, 14);
    step(&mut a, c, 11);
    step(&mut b, a, 25);
    step(&mut c, b, 16);
    step(&mut a, c, 4);
    step(&mut b, a, 14);
    step(&mut c, b, 24);
    c
}

/// `jhash KEY mod SLOTS seed SEED` of nftables: the hash scaled to the number of slots, not its remainder.
pub(super) fn slot(key: &[u8], slots: u32, seed: u32) -> u32 {
    let scaled = (u64::from(jhash(key, seed)) * u64::from(slots)) >> 32;
    u32::try_from(scaled).unwrap_or(0)
}
