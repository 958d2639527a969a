//! The fuzz targets over their committed corpus, without libFuzzer and its compiler.

use std::{collections::BTreeSet, fs, path::Path};
use surehand_test_support::fuzz as targets;

#[test]
fn nothing_in_the_corpus_breaks_a_promise() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, target) in targets::TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(corpus.join(name)).unwrap() {
            let path = entry.unwrap().path();
            // The input that fails is the last one printed.
            println!("{name}: {}", path.display());
            target(&fs::read(&path).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "{name} has an empty corpus");
    }
}

/// Tries each input cut off, doubled, and with every byte changed, as libFuzzer would begin.
#[test]
fn nothing_near_the_corpus_breaks_a_promise() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let mut random = fastrand::Rng::with_seed(1);
    for (name, target) in targets::TARGETS {
        for entry in fs::read_dir(corpus.join(name)).unwrap() {
            let whole = fs::read(entry.unwrap().path()).unwrap();
            for _ in 0..50 {
                let mut bytes = whole.clone();
                for _ in 0..random.usize(1..4) {
                    mutate(&mut bytes, &mut random);
                }
                target(&bytes);
            }
        }
    }
}

fn mutate(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    if bytes.is_empty() {
        return;
    }
    let at = random.usize(..bytes.len());
    let end = random.usize(at..=bytes.len().min(at + 40));
    match random.u8(..4) {
        0 => bytes.truncate(at),
        1 => bytes[at] = *random.choice(b"\"\\{}[],:0-9eaE. \x00\xff").unwrap_or(&0),
        2 => drop(bytes.drain(at..end)),
        _ => {
            let part = bytes[at..end].to_vec();
            bytes.splice(at..at, part);
        }
    }
}

#[test]
fn every_target_is_fuzzed_and_has_a_corpus() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(fuzz.join(folder)).unwrap();
        let stem = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
        entries.map(|entry| stem(&entry.unwrap().path())).collect()
    };
    let targets: BTreeSet<String> = targets::TARGETS.map(|(name, _)| name.into()).into();
    assert_eq!(targets, names("fuzz_targets"));
    assert_eq!(targets, names("corpus"));
}
