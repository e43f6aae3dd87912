//! src/params.rs against kernels/params.h.

/// With `THRESHER_BLESS=1` the committed file is replaced instead.
#[test]
fn committed_bindings_are_those_of_the_header() {
    let committed_at = concat!(env!("CARGO_MANIFEST_DIR"), "/src/params.rs");
    let fresh = std::fs::read_to_string(env!("REGENERATED_BINDINGS")).unwrap();
    if std::env::var_os("THRESHER_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(committed_at, &fresh).unwrap();
    }
    let committed = std::fs::read_to_string(committed_at).unwrap();
    assert_eq!(committed, fresh, "run this test with THRESHER_BLESS=1 to replace src/params.rs");
}
