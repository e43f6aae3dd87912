#!/usr/bin/env bash
# Tests and measures on a GPU, on a machine that has an NVIDIA driver and need have nothing else: no Rust, no toolkit.
#
#   ci/gpu.sh pack DIR       where there is Rust: builds the program and the native tests into DIR, with this script
#   DIR/gpu.sh run DIR OUT   where there is a GPU: runs them, writes a record, tables and logs to OUT; three minutes, at
#                            most eight
#
# Uses compute-sanitizer and cuBLAS where they are installed. Ends with a count of what ran, failed and was skipped, and
# why; exits 1 if anything failed, or if there is no GPU.
set -u

limit_s=460
pack_limit_mb=60

usage() {
    echo 'usage: gpu.sh pack DIR | gpu.sh run DIR OUT' >&2
    exit 2
}

# ---- pack -----------------------------------------------------------------------------------------

pack() { # DIR
    local out=$1 here artifacts binary name
    mkdir -p "$out/tests" && out=$(cd "$out" && pwd) || exit 2
    here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    cd "$here" || exit 2
    cargo build --release -p bench-suite --bin thresher || exit 1
    cp "${CARGO_TARGET_DIR:-target}/release/thresher" "$out/thresher" || exit 1
    artifacts=$(cargo test -p kernels-cuda --no-run --message-format=json) || exit 1
    rm -f "$out"/tests/*
    while IFS= read -r binary; do
        # Of tests that run on the emulator there is nothing to see there.
        "$binary" --list native 2>/dev/null | grep -q ': test$' || continue
        name=$(basename "$binary")
        cp "$binary" "$out/tests/${name%-*}" || exit 1
    done < <(sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' <<<"$artifacts")
    strip "$out/thresher" "$out"/tests/* || exit 1
    cp "$here/ci/gpu.sh" "$out/gpu.sh" || exit 1
    git rev-parse HEAD >"$out/commit"
    local mb
    mb=$(du -sm "$out" | cut -f 1)
    echo "$out: thresher, $(find "$out/tests" -type f | wc -l) test programs, $mb MB, commit $(cut -c 1-12 "$out/commit")"
    echo "needs $(needed_glibc "$out") there"
    if [ "$mb" -gt "$pack_limit_mb" ]; then
        echo "gpu.sh: more than $pack_limit_mb MB" >&2
        exit 1
    fi
}

needed_glibc() { # DIR: the newest version of glibc that its programs ask for
    local newest
    newest=$(grep -aoh 'GLIBC_2\.[0-9]*' "$1/thresher" "$1"/tests/* 2>/dev/null | sort -uV | tail -n 1)
    echo "${newest:-a C library}"
}

# ---- run ------------------------------------------------------------------------------------------

passed=0 failed=0 ran=0
skips=() failures=()

left() { echo $((limit_s - SECONDS)); }

# Runs COMMAND for at most SECONDS, its output in OUT/NAME.txt; what is over the limit of the whole is not begun.
step() { # NAME SECONDS COMMAND...
    local name=$1 seconds=$2 status
    shift 2
    if [ "$(left)" -lt 5 ]; then
        skips+=("$name: the limit of $limit_s s was reached before it")
        return 1
    fi
    [ "$seconds" -lt "$(left)" ] || seconds=$(left)
    local start=$SECONDS
    timeout --kill-after=5 "$seconds" "$@" >"$out/$name.txt" 2>"$out/$name.log"
    status=$?
    if [ "$status" = 0 ]; then
        passed=$((passed + 1))
        printf '== %s: ok, %d s\n' "$name" $((SECONDS - start))
        return 0
    fi
    failed=$((failed + 1))
    case $status in
        124 | 137) failures+=("$name: not done after $seconds s, see $name.log") ;;
        *) failures+=("$name: exit $status, $(cat "$out/$name.txt" "$out/$name.log" | grep . | tail -n 1)") ;;
    esac
    printf '== %s: FAILED (%d), %d s\n' "$name" "$status" $((SECONDS - start))
    # Machines like this one are given back: what went wrong must be in what is read first.
    tail -n 25 "$out/$name.txt" "$out/$name.log"
    return 1
}

native_tests() {
    local binary name count
    for binary in "$dir"/tests/*; do
        name=test-$(basename "$binary")
        # They take twelve seconds; a step that never ends is what the limit is for.
        step "$name" 60 env THRESHER_REQUIRE_GPU=1 PROPTEST_DISABLE_FAILURE_PERSISTENCE=1 "$binary" native
        while IFS= read -r count; do ran=$((ran + count)); done < <(
            sed -n 's/^test result:.* \([0-9]*\) passed.*/\1/p' "$out/$name.txt" 2>/dev/null
        )
        while IFS= read -r line; do skips+=("$line"); done < <(
            sed -n 's/^skipped: //p' "$out/$name.txt" "$out/$name.log" 2>/dev/null | sort -u
        )
    done
}

sanitizer() {
    local found
    found=$(command -v compute-sanitizer || find /usr/local/cuda*/bin /usr/local/cuda*/compute-sanitizer /opt/nvidia \
        -name compute-sanitizer -type f 2>/dev/null | head -n 1)
    echo "$found"
}

# A sanitizer makes kernels ten to a hundred times as slow: the fewest cases, one test at a time, as far as they come.
sanitized_tests() {
    local tool=$1 with seconds=35 binary name log found
    with=$(sanitizer)
    if [ -z "$with" ]; then
        skips+=("$tool: compute-sanitizer is not installed")
        return
    fi
    for binary in "$dir"/tests/*; do
        name=$tool-$(basename "$binary")
        log=$out/$name.txt
        if [ "$(left)" -lt $((seconds + 200)) ]; then
            skips+=("$name: $(left) s are left, and the benches come first")
            continue
        fi
        local start=$SECONDS
        timeout --kill-after=5 "$seconds" env THRESHER_REQUIRE_GPU=1 PROPTEST_CASES=1 \
            PROPTEST_DISABLE_FAILURE_PERSISTENCE=1 "$with" --tool "$tool" --error-exitcode 99 \
            "$binary" native --test-threads 1 >"$log" 2>&1
        local status=$?
        found=$(grep -cE '^========= (Invalid|Error: Race|Error: Potential|Misaligned|Program hit)' "$log")
        if [ "$found" -gt 0 ] || [ "$status" = 99 ]; then
            failed=$((failed + 1))
            failures+=("$name: $found findings, see $name.txt")
        elif [ "$status" = 124 ] || [ "$status" = 137 ]; then
            skips+=("$name: cut after $seconds s, nothing found in $(grep -c '^test .* ok$' "$log") tests till then")
        elif [ "$status" != 0 ]; then
            failed=$((failed + 1))
            failures+=("$name: exit $status, see $name.txt")
        else
            passed=$((passed + 1))
        fi
        printf '== %s: exit %d, %d s\n' "$name" "$status" $((SECONDS - start))
    done
}

# The folder of cuBLAS, for the loader, where it is not among its own.
cublas_folder() {
    if ldconfig -p 2>/dev/null | grep -q 'libcublas\.so'; then return; fi
    local found
    found=$(find /usr/local/cuda*/lib64 /usr/local/cuda*/targets/*/lib /usr/lib /opt /usr/local/lib \
        -name 'libcublas.so*' 2>/dev/null | head -n 1)
    [ -z "$found" ] || dirname "$found"
}

run() { # DIR OUT
    dir=$(cd "$1" 2>/dev/null && pwd) || { echo "gpu.sh: $1: no such folder; make one with gpu.sh pack" >&2; exit 2; }
    if [ ! -x "$dir/thresher" ]; then
        echo "gpu.sh: $dir holds no thresher: make it with gpu.sh pack" >&2
        exit 2
    fi
    # Asked of the program itself: a driver may be there and a GPU not, or one that is too old.
    local probe
    if ! probe=$("$dir/thresher" decode --check --layers 1 2>&1); then
        echo "gpu.sh: ${probe#thresher: }" >&2
        exit 1
    fi
    mkdir -p "$2" && out=$(cd "$2" && pwd) || exit 2
    echo "$probe"
    echo "commit $(cut -c 1-12 "$dir/commit" 2>/dev/null)"
    nvidia-smi -q >"$out/nvidia-smi.txt" 2>&1 || true
    local folder
    folder=$(cublas_folder)
    [ -z "$folder" ] || export LD_LIBRARY_PATH="$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"

    native_tests
    sanitized_tests memcheck
    if [ "${THRESHER_RACECHECK:-0}" = 1 ]; then
        sanitized_tests racecheck
    else
        skips+=("racecheck: in 35 s it gets through no test; THRESHER_RACECHECK=1 runs it")
    fi
    step roof 180 "$dir/thresher" roof --device gpu --record "$out/record.json"
    if step peers 90 "$dir/thresher" peers --device gpu --rounds 15 --out "$out/peers"; then
        while IFS= read -r line; do skips+=("$line"); done < <(sed -n 's/^cublas: skipped, /cublas: /p' "$out/peers.txt")
    fi
    decoded
    step validate 60 "$dir/thresher" validate --measured --device gpu --rounds 7 --check

    {
        echo "$probe"
        for name in roof peers decode validate; do
            [ -s "$out/$name.txt" ] && { printf '\n== %s\n' "$name"; cat "$out/$name.txt"; }
        done
        echo
        summary
    } >"$out/table.txt"
    cat "$out/table.txt"
    [ "$failed" -eq 0 ]
}

decoded() {
    if "$dir/thresher" decode --check >/dev/null 2>&1; then
        step decode 90 "$dir/thresher" decode
    else
        skips+=("decode: $("$dir/thresher" decode --check 2>&1 | sed 's/^thresher: //')")
    fi
}

summary() {
    printf '%d native tests ran; %d steps in %d s\n' "$ran" $((passed + failed)) "$SECONDS"
    local line
    for line in ${skips[@]+"${skips[@]}"}; do printf 'skipped: %s\n' "$line"; done
    for line in ${failures[@]+"${failures[@]}"}; do printf 'FAILED: %s\n' "$line"; done
    printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "${#skips[@]}"
}

case ${1:-} in
    pack)
        [ $# = 2 ] || usage
        pack "$2"
        ;;
    run)
        [ $# = 3 ] || usage
        run "$2" "$3"
        ;;
    *) usage ;;
esac
