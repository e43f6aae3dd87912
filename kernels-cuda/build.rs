//! Compiles what a plain build does not need: the emulated kernels (feature `emulation`) and fresh
//! bindings of kernels/params.h (feature `regenerate-bindings`). Without features it does nothing,
//! so the crate builds with neither a C++ compiler nor libclang nor CUDA.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(emulated)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=kernels");
    #[cfg(feature = "emulation")]
    emulation::build();
    #[cfg(feature = "regenerate-bindings")]
    bindings::build();
}

/// Sets `cfg(emulated)` where the kernels were compiled for the host; elsewhere
/// `NO_EMULATION_BECAUSE` tells the tests why not.
#[cfg(feature = "emulation")]
mod emulation {
    use std::path::{Path, PathBuf};

    const SOURCES: [&str; 5] = ["fiber", "host", "kernels", "memory", "pipeline"];

    pub(crate) fn build() {
        match missing() {
            Some(reason) => println!("cargo::rustc-env=NO_EMULATION_BECAUSE={reason}"),
            None => {
                // Their runtime must come before every other library.
                #[cfg(feature = "sanitizers")]
                println!("cargo::rustc-link-lib=asan\ncargo::rustc-link-lib=ubsan");
                // A compiler that works but rejects the kernels is a fault of the kernels: stop.
                compiler()
                    .files(SOURCES.map(|source| format!("kernels/emulation/{source}.cpp")))
                    .compile("thresher_emulation");
                println!("cargo::rustc-cfg=emulated");
            }
        }
    }

    fn compiler() -> cc::Build {
        let mut build = cc::Build::new();
        build
            .cpp(true)
            .std("c++17")
            .include("kernels")
            // Kernel speed under emulation is test speed, in every profile.
            .opt_level(2)
            // The kernels write fmaf where they mean it, here and under nvcc (build-ptx.sh).
            .flag("-ffp-contract=off")
            // They read shared memory as whatever a copy brought there.
            .flag("-fno-strict-aliasing")
            .flag("-Wno-unknown-pragmas");
        // Half of the time to compile, a few seconds more to run.
        #[cfg(feature = "sanitizers")]
        build.opt_level(1).define("THRESHER_SANITIZERS", None).flags([
            "-fsanitize=address,undefined",
            "-fno-sanitize-recover=all",
            "-fno-omit-frame-pointer",
            "-g1",
        ]);
        build
    }

    fn missing() -> Option<String> {
        let target = std::env::var("TARGET").unwrap_or_default();
        if !target.contains("linux-gnu") {
            return Some(format!("the emulation needs Linux with glibc (ucontext, ELF sections), not {target}"));
        }
        if let Err(error) = compiler().try_get_compiler() {
            return Some(format!("no C++ compiler: {}", one_line(&error.to_string())));
        }
        let probe = out_dir().join("probe.cpp");
        if let Err(error) = std::fs::write(&probe, PROBE) {
            return Some(format!("cannot write {}: {error}", probe.display()));
        }
        compiler()
            .cargo_metadata(false)
            .cargo_warnings(false)
            .file(Path::new(&probe))
            .try_compile("thresher_probe")
            .err()
            .map(|error| format!("the C++ compiler does not compile C++17: {}", one_line(&error.to_string())))
    }

    const PROBE: &str = "#include <ucontext.h>\n#include <memory>\n\
        int probe() { if constexpr (sizeof(int) > 1) return *std::make_unique<int>(1); }\n";

    /// Without the command line, which `cc` quotes at the end.
    fn one_line(text: &str) -> String {
        let reason = text.split(": \"").next().unwrap_or(text);
        reason.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn out_dir() -> PathBuf {
        PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default())
    }
}

/// Writes `params.rs` to the output folder; tests/bindings.rs compares it with src/params.rs.
#[cfg(feature = "regenerate-bindings")]
mod bindings {
    pub(crate) fn build() {
        let out = std::env::var("OUT_DIR").unwrap_or_default();
        bindgen::builder()
            .header("kernels/params.h")
            .allowlist_file(".*params\\.h")
            // The layout is compared with the C++ compiler's at test time: src/layout.rs.
            .layout_tests(false)
            .disable_header_comment()
            .raw_line("//! kernels/params.h in Rust, made by bindgen. After a change of the header:")
            .raw_line("//! `THRESHER_BLESS=1 cargo test -p kernels-cuda --features regenerate-bindings`.")
            .use_core()
            .generate()
            .unwrap_or_else(|error| fail(&error.to_string()))
            .write_to_file(std::path::Path::new(&out).join("params.rs"))
            .unwrap_or_else(|error| fail(&error.to_string()));
        println!("cargo::rustc-env=REGENERATED_BINDINGS={out}/params.rs");
    }

    fn fail(reason: &str) -> ! {
        println!("cargo::error=bindings of kernels/params.h: {reason}");
        std::process::exit(1);
    }
}
