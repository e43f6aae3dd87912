//! The innermost loops of AVX-512 code, as a disassembler shows them: valgrind cannot execute them, so their length is
//! what stands for their count.
//!
//! ```text
//!   kernels_cpu::avx512::dot_float::dot_rows::<kernels_cpu::avx512::float::F16, 8>
//!     1000: ...
//!     1010: vcvtph2ps ...        <─┐ a jump back: from here to there is a loop, innermost if there is none within;
//!     ...                          │ the first of this function is `avx512::dot_float::dot_rows<F16,8>#01`
//!     1200: jne 1010             ──┘
//! ```

use std::{io::BufRead, path::Path, process::Command};

use super::baseline::{Column, Rows, Worse};
use crate::{Failure, Result};

/// Instructions between the loop's labels; operands on the stack, as spilt registers are; calls; instructions that do
/// what the loop is there for, and those that fetch ahead, neither of which may become fewer.
pub const COLUMNS: [Column; 5] = [
    Column { name: "instructions", worse: Worse::More(0.01) },
    Column { name: "stack", worse: Worse::More(0.0) },
    Column { name: "calls", worse: Worse::More(0.0) },
    Column { name: "work", worse: Worse::Less },
    Column { name: "prefetch", worse: Worse::Less },
];

/// Multiplications, additions of a whole vector's products, comparisons, compressed stores, counts of bits.
const WORK: [&str; 11] =
    ["vfmadd", "vfmsub", "vfnmadd", "vmulp", "vpmadd", "vpdp", "vdpbf16", "vcmp", "vpcompress", "vpopcnt", "vpternlog"];

const DISASSEMBLER: &str = "objdump";

/// The loops of the AVX-512 functions of a program.
///
/// # Errors
/// The program cannot be disassembled, or has no such loop: it may be stripped, or its symbols lack type parameters.
/// `Ok(None)` where there is no disassembler.
pub fn of_program(program: &Path) -> Result<Option<Rows>> {
    let disassemble = Command::new(DISASSEMBLER).args(["-d", "-C", "--no-show-raw-insn"]).arg(program).output();
    let output = match disassemble {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        output => output?,
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::input(format!("{DISASSEMBLER} cannot read {}: {}", program.display(), said.trim())));
    }
    let rows = read(output.stdout.as_slice())?;
    if !rows.keys().any(|name| name.contains('<')) {
        return Err(Failure::input(format!(
            "{} shows no AVX-512 loop with its type parameters: build it for x86-64 with symbols, and with \
             `-C symbol-mangling-version=v0` where RUSTFLAGS is set",
            program.display()
        )));
    }
    Ok(Some(rows))
}

#[derive(Debug)]
struct Instruction {
    address: u64,
    mnemonic: String,
    operands: String,
}

/// Reads what the disassembler printed.
///
/// # Errors
/// It cannot be read.
pub fn read(disassembly: impl BufRead) -> Result<Rows> {
    let mut rows = Rows::new();
    let mut function: Option<(String, Vec<Instruction>)> = None;
    for line in disassembly.lines() {
        let line = line?;
        if let Some(name) = function_name(&line) {
            finish(function.take(), &mut rows);
            function = short_name(name).map(|name| (name, Vec::new()));
        } else if let Some((_, instructions)) = &mut function {
            instructions.extend(instruction(&line));
        }
    }
    finish(function, &mut rows);
    Ok(rows)
}

/// `0000000000001000 <name>:`
fn function_name(line: &str) -> Option<&str> {
    let (address, rest) = line.split_once(" <")?;
    address.bytes().all(|b| b.is_ascii_hexdigit()).then(|| rest.strip_suffix(">:"))?
}

/// `    1010:\tvcvtph2ps (%rax),%zmm0`
fn instruction(line: &str) -> Option<Instruction> {
    let (address, rest) = line.trim_start().split_once(":\t")?;
    let (mnemonic, operands) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let address = u64::from_str_radix(address, 16).ok()?;
    Some(Instruction { address, mnemonic: mnemonic.to_owned(), operands: operands.trim().to_owned() })
}

/// A kernel's name without its crate, its type parameters without their paths; `None` of other functions.
fn short_name(name: &str) -> Option<String> {
    const CRATES: [&str; 3] = ["kernels_cpu::", "predictor::", "threshold::select::"];
    let path = CRATES.iter().find_map(|of| name.strip_prefix(of)).filter(|path| path.starts_with("avx512"))?;
    let Some((path, parameters)) = path.split_once("::<") else { return Some(path.replace(' ', "")) };
    let parameters = parameters.strip_suffix('>').unwrap_or(parameters);
    let last = |parameter: &str| parameter.trim().rsplit("::").next().unwrap_or_default().to_owned();
    Some(format!("{path}<{}>", parameters.split(',').map(last).collect::<Vec<_>>().join(",")))
}

fn finish(function: Option<(String, Vec<Instruction>)>, rows: &mut Rows) {
    let Some((name, instructions)) = function else { return };
    let loops = innermost_loops(&instructions);
    let vectors = loops.into_iter().filter(|body| body.iter().any(|i| i.operands.contains("%zmm")));
    for (body, number) in vectors.zip(1..) {
        // Functions that differ in what the name does not tell are told apart by number alone.
        let mut number: usize = number;
        while rows.contains_key(&format!("{name}#{number:02}")) {
            number += 1;
        }
        rows.insert(format!("{name}#{number:02}"), figures(body));
    }
}

/// In the order of their addresses.
fn innermost_loops(instructions: &[Instruction]) -> Vec<&[Instruction]> {
    let position = |address: u64| instructions.binary_search_by_key(&address, |i| i.address).ok();
    let target = |i: &Instruction| u64::from_str_radix(i.operands.split_whitespace().next()?, 16).ok();
    let jumps = instructions.iter().enumerate().filter(|(_, i)| i.mnemonic.starts_with('j'));
    let mut loops: Vec<(usize, usize)> = jumps
        .filter_map(|(end, jump)| Some((position(target(jump)?)?, end)))
        .filter(|(start, end)| start <= end)
        .collect();
    loops.sort_unstable();
    loops.dedup();
    let holds_another = |&(start, end): &(usize, usize)| {
        loops.iter().any(|&other| other != (start, end) && start <= other.0 && other.1 <= end)
    };
    loops.iter().filter(|own| !holds_another(own)).map(|&(start, end)| &instructions[start..=end]).collect()
}

fn figures(body: &[Instruction]) -> Vec<u64> {
    let count = |of: &dyn Fn(&Instruction) -> bool| body.iter().filter(|i| of(i)).count() as u64;
    vec![
        body.len() as u64,
        count(&|i| i.operands.contains("(%rsp")),
        count(&|i| i.mnemonic.starts_with("call")),
        count(&|i| WORK.iter().any(|work| i.mnemonic.starts_with(work))),
        count(&|i| i.mnemonic.starts_with("prefetch")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISASSEMBLY: &str = "
program:     file format elf64-x86-64

0000000000001000 <kernels_cpu::avx512::dot_float::dot_rows::<kernels_cpu::avx512::float::F16, 8>>:
    1000:\tpush   %rbp
    1001:\tvxorps %xmm0,%xmm0,%xmm0
    1008:\tmov    (%rsp),%rax
    1010:\tvcvtph2ps (%rax),%zmm1
    1018:\tprefetcht1 0x800(%rax)
    101c:\tvfmadd231ps %zmm1,%zmm2,%zmm0
    1020:\tadd    0x8(%rsp),%rcx
    1024:\tjne    1010 <kernels_cpu::avx512::dot_float::dot_rows::<kernels_cpu::avx512::float::F16, 8>+0x10>
    1028:\tcall   4000 <other>
    1030:\tdec    %rdx
    1034:\tjne    1008 <kernels_cpu::avx512::dot_float::dot_rows::<kernels_cpu::avx512::float::F16, 8>+0x8>
    1038:\tjmp    1050 <kernels_cpu::avx512::dot_float::dot_rows::<kernels_cpu::avx512::float::F16, 8>+0x50>
    1040:\tdec    %rdx
    1044:\tjne    1040 <kernels_cpu::avx512::dot_float::dot_rows::<kernels_cpu::avx512::float::F16, 8>+0x40>
    1050:\tret

0000000000002000 <kernels_cpu::avx2::stream::checksum>:
    2000:\tvpaddd (%rax),%zmm0,%zmm0
    2004:\tjne    2000 <kernels_cpu::avx2::stream::checksum>

0000000000003000 <threshold::select::avx512::count::run>:
    3000:\tvcmpleps (%rdi),%zmm0,%k0
    3004:\tcall   4000 <other>
    3008:\tjne    3000 <threshold::select::avx512::count::run>
";

    /// Not the outer loop, not the one without vectors, not AVX2's.
    #[test]
    fn innermost_vector_loops_are_found() {
        let rows: Vec<_> = read(DISASSEMBLY.as_bytes()).unwrap().into_iter().collect();
        let wanted = [
            ("avx512::count::run#01", vec![3, 0, 1, 1, 0]),
            ("avx512::dot_float::dot_rows<F16,8>#01", vec![5, 1, 0, 1, 1]),
        ];
        assert_eq!(rows, wanted.map(|(name, figures)| (name.to_owned(), figures)));
    }

    #[test]
    fn a_program_that_is_none_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        // Without a disassembler there is nothing to refuse with.
        assert!(matches!(of_program(file.path()), Ok(None) | Err(Failure { code: 2, .. })));
    }
}
