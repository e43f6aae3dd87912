//! Bytes that break a reader, sought by libFuzzer: `ci/fuzz` builds and runs this. `THRESHER_FUZZ_TARGET` names the reader.

#![no_main]
#![allow(clippy::unwrap_used, clippy::panic)]

mod targets;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use targets::TARGETS;

fn read(bytes: &[u8]) {
    static READ: OnceLock<fn(&[u8])> = OnceLock::new();
    let read = READ.get_or_init(|| {
        let wanted = std::env::var("THRESHER_FUZZ_TARGET").unwrap_or_default();
        let found = TARGETS.into_iter().find(|(name, _)| *name == wanted);
        found.unwrap_or_else(|| panic!("THRESHER_FUZZ_TARGET=`{wanted}`, wanted one of {:?}", TARGETS.map(|t| t.0))).1
    });
    read(bytes);
}

fuzz_target!(|bytes: &[u8]| read(bytes));
