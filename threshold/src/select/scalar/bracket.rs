//! Scores between two bounds, and how many are above.
//!
//! ```text
//!   scores   .2  .9  .1  .7     bracket .1 ..= .5
//!   within   .2  .1             above 2
//! ```

const BLOCK: usize = 64;

pub(in crate::select) fn bracket(scores: &[f32], low: f32, high: f32, within: &mut Vec<f32>) -> usize {
    let mut above = 0;
    let mut kept = [0.0; BLOCK];
    for block in scores.chunks(BLOCK) {
        above += block.iter().filter(|&&score| score > high).count();
        let mut len = 0;
        for &score in block {
            kept[len % BLOCK] = score;
            len += usize::from((score >= low) & (score <= high));
        }
        within.extend_from_slice(&kept[..len]);
    }
    above
}
