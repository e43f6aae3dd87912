//! Which problems training may see, and which are held out.
//!
//! A solution's normal form is its text with parameter names numbered in the order in which they appear. It belongs to
//! one side by its hash alone, so no solution is on both sides, under whatever names.

use super::{
    draw::Kind,
    problem::{Problem, names},
};

/// One normal form in so many is held out.
const HELD_OUT_ONE_IN: u64 = 6;

/// The solution with `p0`, `p1` … for its parameters.
pub fn normal_form(solution: &str) -> String {
    let mut text = String::with_capacity(solution.len());
    let mut seen: Vec<&str> = Vec::new();
    let mut rest = solution;
    while !rest.is_empty() {
        let word = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        if word == 0 {
            let next = rest.chars().next().map_or(1, char::len_utf8);
            text.push_str(&rest[..next]);
            rest = &rest[next..];
            continue;
        }
        let (name, after) = rest.split_at(word);
        rest = after;
        if is_parameter(name) {
            let index = seen.iter().position(|known| *known == name).unwrap_or_else(|| {
                seen.push(name);
                seen.len() - 1
            });
            text += &format!("p{index}");
        } else {
            text.push_str(name);
        }
    }
    text
}

/// Whether training never sees this solution.
pub fn is_held_out(problem: &Problem) -> bool {
    fnv1a(normal_form(&problem.canonical_solution).as_bytes()).is_multiple_of(HELD_OUT_ONE_IN)
}

fn is_parameter(name: &str) -> bool {
    [Kind::Ints, Kind::Int, Kind::Word, Kind::Words, Kind::Dict].iter().any(|kind| names(*kind).contains(&name))
}

/// FNV-1a in 64 bits (Fowler, Noll, Vo, RFC 9923), its halves folded: its lowest bits alone mix little.
fn fnv1a(bytes: &[u8]) -> u64 {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3_u64));
    (hash ^ (hash >> 32)) & 0xffff_ffff
}
