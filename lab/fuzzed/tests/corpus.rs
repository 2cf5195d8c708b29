//! The committed corpus, and a few thousand mutations of it, through each target.

use std::path::{Path, PathBuf};

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let entries = std::fs::read_dir(folder.join(name)).expect("each target has a corpus");
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("it can be read").path()).collect();
    files.sort();
    let read = |path: PathBuf| {
        let octets = std::fs::read(&path).expect("it can be read");
        (path, octets)
    };
    files.into_iter().map(read).collect()
}

/// SplitMix64.
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as usize >> 1
}

fn mutate(octets: &mut Vec<u8>, state: &mut u64) {
    for _ in 0..=next(state) % 4 {
        let at = next(state) % (octets.len() + 1);
        match next(state) % 4 {
            0 => octets.insert(at, next(state) as u8),
            1 if at < octets.len() => {
                octets.remove(at);
            }
            2 if at < octets.len() => octets[at] ^= 1 << (next(state) % 8),
            _ if at < octets.len() => octets[at] = [0, 1, 4, 0x7f, 0x80, 0xff][next(state) % 6],
            _ => {}
        }
    }
}

#[test]
fn every_file_and_mutations_of_it() {
    for (name, target) in fuzzed::TARGETS {
        let files = corpus(name);
        assert!(!files.is_empty(), "{name} has a corpus");
        for (_, octets) in &files {
            target(octets);
        }
        let mut state = 7;
        for round in 0..4000 {
            let mut octets = files[round % files.len()].1.clone();
            mutate(&mut octets, &mut state);
            target(&octets);
        }
        println!("{name}: {} files", files.len());
    }
}

#[test]
fn each_target_has_its_program() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).expect("it is there");
    for (name, _) in fuzzed::TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        let program = std::fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs")));
        assert!(
            program.is_ok_and(|text| text.contains(&format!("fuzzed::{name}"))),
            "{name}"
        );
    }
}
