#!/usr/bin/env bash
# Compiles kernels/*.cu to PTX for ptx/, and that, as a driver does, to machine code of every supported GPU generation as
# a check.
#
#   ./build-ptx.sh           compile, check, write ptx/ and ptx/sources.sha256
#   ./build-ptx.sh --check   the same, but fail instead of writing if ptx/ would change
#   ./build-ptx.sh --bless   as the first, and take what each kernel is now as its budget
#   ./build-ptx.sh --find    print where the compiler is, having installed it if need be; fail if it cannot be had
#
# Fails on a spill, a stack frame or local memory in any kernel for any target, and where one is not
# within kernels/budget.txt there: more registers, barriers of a block or conversions of integers, or
# fewer loads of 128 bits from global memory or multiply-adds, which means that wide loads or unrolling
# were lost. Prints registers and shared memory of each. Uses CUDA 13.0's nvcc from PATH, else installs
# it from PyPI (about 400 MB) into the cargo target folder; so too nvdisasm (6 MB), of any version 13.
# Needs python3 and a C++ compiler; no GPU, no driver.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here"

# PTX carries the version of the toolkit that made it and loads only on a driver at least as new:
# 13.0 is PTX 9.0, driver 580. src/probe.rs states the same.
toolkit=13.0
ptx_target=compute_80
# Sources with paths of their own for Hopper and newer: their PTX is made for it too.
hopper_sources=(select step)
early_targets=(sm_80 sm_89)
hopper_targets=(sm_90a sm_100)

mode=${1:-write}
case $mode in
  write | --check | --bless | --find) ;;
  *)
    echo "usage: build-ptx.sh [--check | --bless | --find]" >&2
    exit 2
    ;;
esac

is_wanted_nvcc() { "$1" --version 2>/dev/null | grep -q "release $toolkit,"; }

find_nvcc() {
  if command -v nvcc >/dev/null && is_wanted_nvcc nvcc; then
    command -v nvcc
    return
  fi
  local target=${CARGO_TARGET_DIR:-$here/../target}
  local environment=$target/cuda-$toolkit
  local nvcc
  nvcc=$(find "$environment" -path '*/nvidia/cu13/bin/nvcc' 2>/dev/null | head -n 1 || true)
  if [ -z "$nvcc" ]; then
    echo "no nvcc $toolkit on PATH: installing it from PyPI into $environment" >&2
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check \
      "nvidia-cuda-nvcc==$toolkit.*" "nvidia-nvvm==$toolkit.*" "nvidia-cuda-crt==$toolkit.*" \
      "nvidia-cuda-runtime==$toolkit.*" "nvidia-cuda-cccl==$toolkit.*" >&2
    nvcc=$(find "$environment" -path '*/nvidia/cu13/bin/nvcc' | head -n 1)
  fi
  is_wanted_nvcc "$nvcc" || {
    echo "$nvcc is not nvcc $toolkit" >&2
    exit 1
  }
  echo "$nvcc"
}

# Beside nvcc or on PATH, else from PyPI, which has it from 13.2 on.
find_nvdisasm() {
  local beside=${1%/*}/nvdisasm
  local environment=${CARGO_TARGET_DIR:-$here/../target}/cuda-$toolkit
  if [ -x "$beside" ]; then
    echo "$beside"
  elif command -v nvdisasm; then
    return
  else
    [ -d "$environment" ] || python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check nvidia-cuda-nvdisasm==13.5.37 >&2
    find "$environment" -path '*/nvidia/cu13/bin/nvdisasm' | grep .
  fi
}

# What nvdisasm -c prints, kernel by kernel: loads of 128 bits from global memory, multiply-adds of f32,
# barriers of a block, conversions from integers.
mix() {
  awk '
    function row() { if (kernel != "") print kernel, wide + 0, fma + 0, barriers + 0, conversions + 0 }
    /^\.text\./ {
      row()
      kernel = substr($1, 7, length($1) - 7)
      wide = fma = barriers = conversions = 0
    }
    # An address, sometimes a predicate, then the instruction.
    /^ *\/\*[0-9a-f]+\*\/ / {
      name = $2 ~ /^@/ ? $3 : $2
      if (name ~ /^LDG\..*\.128/) wide += 1
      else if (name ~ /^FFMA2/) fma += 2
      else if (name ~ /^FFMA/) fma += 1
      else if (name ~ /^BAR\./) barriers += 1
      else if (name ~ /^I2F/) conversions += 1
    }
    END { row(); exit kernel == "" }'
}

# ptxas -v speaks of one kernel in three lines: compiling, stack and spills, registers.
# Prints one row per kernel; exits 1 if any kernel keeps something outside registers.
table() {
  awk -v target="$1" '
    /Compiling entry function/ { split($0, part, "\047"); kernel = part[2] }
    /bytes stack frame/ {
      stack = $0; sub(/ bytes stack frame.*/, "", stack); sub(/.* /, "", stack)
      stores = $0; sub(/ bytes spill stores.*/, "", stores); sub(/.* /, "", stores)
      loads = $0; sub(/ bytes spill loads.*/, "", loads); sub(/.* /, "", loads)
    }
    /Used [0-9]+ registers/ {
      registers = $0; sub(/ registers.*/, "", registers); sub(/.* /, "", registers)
      shared = 0
      if ($0 ~ /bytes smem/) { shared = $0; sub(/ bytes smem.*/, "", shared); sub(/.* /, "", shared) }
      outside = stack + stores + loads
      if ($0 ~ /bytes lmem/) outside += 1
      printf "%-8s %-20s %9d %8d %6d %7d\n", target, kernel, registers, shared, stack, stores + loads
      if (outside > 0) bad = 1
      kernels += 1
    }
    END { exit bad || kernels == 0 }'
}

nvcc=$(find_nvcc)
if [ "$mode" = --find ]; then
  echo "$nvcc"
  exit
fi
nvdisasm=$(find_nvdisasm "$nvcc")
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# Contraction is spelled out with fmaf in the sources: with it off, the kernels round as the
# emulation does.
flags=(-std=c++17 -O3 -fmad=false -I kernels)

# Runs a command beside others, one for each core; what it prints is shown only if it fails.
beside() { # LOG COMMAND...
  local log=$1
  shift
  while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n || true; done
  { "$@" >"$log" 2>&1 || touch "$out/failed"; } &
}
all_done() {
  wait
  [ ! -e "$out/failed" ] || { cat "$out"/*.log >&2; exit 1; }
}

for source in kernels/*.cu; do
  name=$(basename "$source" .cu)
  beside "$out/$name.log" "$nvcc" "${flags[@]}" -arch=$ptx_target -ptx -o "$out/$name.ptx" "$source"
  if [[ " ${hopper_sources[*]} " == *" $name "* ]]; then
    beside "$out/$name.sm_90.log" "$nvcc" "${flags[@]}" -arch=compute_90 -ptx -o "$out/$name.sm_90.ptx" "$source"
  fi
done
all_done
rm -f "$out"/*.log

for ptx in "$out"/*.ptx; do
  name=$(basename "$ptx" .ptx)
  targets=("${early_targets[@]}" "${hopper_targets[@]}")
  if [ -e "$out/$name.sm_90.ptx" ]; then
    targets=("${early_targets[@]}")
  elif [[ $name == *.sm_90 ]]; then
    targets=("${hopper_targets[@]}")
  fi
  for target in "${targets[@]}"; do
    beside "$out/${name%.sm_90}.$target.log" "${nvcc%/*}/ptxas" -v "-arch=$target" -o "$out/${name%.sm_90}.$target.cubin" "$ptx"
  done
done
all_done

failed=0
printf '%-8s %-20s %9s %8s %6s %7s\n' target kernel registers shared stack spilled
for log in "$out"/*.log; do
  cubin=${log%.log}.cubin
  target=${log%.log}
  target=${target##*.}
  table "$target" <"$log" >"$out/rows" || failed=1
  cat "$out/rows"
  awk '{ print $2, $1, $3 }' "$out/rows" >>"$out/registers"
  "$nvdisasm" -c "$cubin" | mix | awk -v target="$target" '{ $1 = $1 " " target; print }' >>"$out/mix"
done
# Kernel, target, registers, mix.
awk 'NR == FNR { mix[$1 " " $2] = $3 " " $4 " " $5 " " $6; next } { print $0, mix[$1 " " $2] }' \
  "$out/mix" "$out/registers" | LC_ALL=C sort >"$out/budget"
if [ "$failed" = 1 ]; then
  echo "a kernel above spills or keeps something in local memory" >&2
  exit 1
fi

budget=kernels/budget.txt
if [ "$mode" = --bless ]; then
  {
    echo "# What each kernel may need and must have, target by target: at most so many registers a thread, at"
    echo "# least so many 128-bit loads from global memory and multiply-adds, at most so many barriers of a block"
    echo "# and conversions from integers. Made by build-ptx.sh --bless, held by every other run of it."
    echo "# kernel target registers wide_loads multiply_adds barriers conversions"
    cat "$out/budget"
  } >"$budget"
fi
# A kernel without a budget, outside of it, or gone while its budget stays.
awk '
  BEGIN { split("_ _ registers wide_loads multiply_adds barriers conversions", name) }
  /^#/ { next }
  { key = $1 " for " $2 }
  NR == FNR { budget[key] = $0; next }
  !(key in budget) { print key " has no budget"; bad = 1; next }
  {
    split(budget[key], limit)
    for (i = 3; i <= 7; ++i) {
      if (i == 4 || i == 5 ? $i < limit[i] : $i > limit[i]) {
        print key " has " $i " " name[i] ", budget " limit[i]
        bad = 1
      }
    }
    delete budget[key]
  }
  END { for (left in budget) { print left " has a budget and is no kernel"; bad = 1 }; exit bad }
' "$budget" "$out/budget" >&2 || {
  echo "kernels are not within $budget: if meant, run kernels-cuda/build-ptx.sh --bless" >&2
  exit 1
}

if [ "$mode" = --check ]; then
  for made in "$out"/*.ptx; do
    cmp "$made" "ptx/$(basename "$made")" || {
      echo "ptx/ is out of date: run kernels-cuda/build-ptx.sh" >&2
      exit 1
    }
  done
  sha256sum --check --quiet ptx/sources.sha256
else
  mkdir -p ptx
  rm -f ptx/*.ptx
  cp "$out"/*.ptx ptx/
  sha256sum kernels/*.cu kernels/*.cuh kernels/params.h ptx/*.ptx >ptx/sources.sha256
fi
