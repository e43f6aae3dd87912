//! Indices of the scores that reach a threshold.
//!
//! ```text
//!   scores   .2  .9  .1  .7     64 at a time
//!   kept     first+1, first+3   written to the stack whether or not it counts, then appended
//! ```

use super::any_nan;

/// Writing `active` in place would have to fill it with zeros first.
const BLOCK: usize = 64;

pub(in crate::select) fn compact(scores: &[f32], threshold: f32, first: u32, active: &mut Vec<u32>) -> bool {
    let mut nan = false;
    let mut first = first;
    let mut kept = [0; BLOCK];
    for block in scores.chunks(BLOCK) {
        // A loop of its own: apart from the gathering, which is serial, it vectorises.
        nan |= any_nan(block);
        let mut len = 0;
        for (index, &score) in (first..).zip(block) {
            kept[len % BLOCK] = index;
            len += usize::from(score >= threshold);
        }
        active.extend_from_slice(&kept[..len]);
        first = first.wrapping_add(BLOCK as u32);
    }
    nan
}
