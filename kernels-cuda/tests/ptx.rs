//! The committed PTX against its sources and against what the crate says of it.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{collections::BTreeSet, fs, path::Path};

use kernels_cuda::{Format, KERNELS, Kernel, Operator};
use sha2::{Digest, Sha256};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn hash_of(file: &str) -> String {
    let bytes = fs::read(root().join(file)).unwrap();
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn files(folder: &str, extensions: &[&str]) -> BTreeSet<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| extensions.iter().any(|extension| name.ends_with(extension)))
        .map(|name| format!("{folder}/{name}"))
        .collect()
}

/// ptx/sources.sha256 lists everything that the PTX was made from, and the PTX.
#[test]
fn ptx_is_made_from_these_sources() {
    let list = fs::read_to_string(root().join("ptx/sources.sha256")).unwrap();
    let mut listed = BTreeSet::new();
    for line in list.lines() {
        let (hash, file) = line.split_once("  ").unwrap();
        assert_eq!(hash, hash_of(file), "{file} changed: run kernels-cuda/build-ptx.sh");
        listed.insert(file.to_owned());
    }
    let mut wanted = files("kernels", &[".cu", ".cuh", ".h"]);
    wanted.append(&mut files("ptx", &[".ptx"]));
    assert_eq!(listed, wanted, "run kernels-cuda/build-ptx.sh");
}

/// Compute capability 8.0 and PTX ISA 9.0 are what the probe asks of the machine.
#[test]
fn ptx_is_for_the_machines_that_the_probe_accepts() {
    for operator in Operator::ALL {
        let ptx = operator.ptx();
        assert!(ptx.contains("\n.target sm_80\n"), "{operator:?}");
        assert!(ptx.contains("\n.version 9.0\n"), "{operator:?}");
        if let Some(ptx) = operator.ptx_for_hopper() {
            assert!(ptx.contains("\n.target sm_90\n"), "{operator:?}");
            assert!(ptx.contains("\n.version 9.0\n"), "{operator:?}");
        }
    }
}

#[test]
fn ptx_holds_every_kernel_under_its_name() {
    for kernel in KERNELS {
        let entry = format!(".entry {}(", kernel.entry());
        let hopper_only = kernel == Kernel::of(Operator::Step, Format::F32);
        assert_eq!(kernel.operator().ptx().contains(&entry), !hopper_only, "{kernel}");
        assert!(kernel.operator().ptx_for_hopper().is_none_or(|ptx| ptx.contains(&entry)), "{kernel}");
    }
}

#[test]
fn a_kernel_is_found_by_its_name() {
    for kernel in KERNELS {
        assert_eq!(Kernel::named(&kernel.to_string()), Some(kernel));
        assert_eq!(Kernel::of(kernel.operator(), kernel.format()), kernel);
    }
    assert_eq!(KERNELS.iter().collect::<std::collections::HashSet<_>>().len(), 38);
    let gate_up = Kernel::named("gate_up/cuda/f16").unwrap();
    assert_eq!(gate_up.entry(), "gate_up_f16");
    assert_eq!(Kernel::named("gate_up/cuda/f64"), None);
}
