//! Two placements that are in use, to compare the best one with.

use super::solver::{self, Choice, Stage};
use super::{Layer, Placement, Problem, Side};

impl Problem {
    /// Whole layers on the GPU until the next does not fit, from the last to the first, and the head after
    /// all of them: what llama.cpp does with a number of GPU layers. Firing plays no part in it.
    pub fn by_layers(&self) -> Placement {
        let mut placement = self.nowhere();
        let mut room = self.gpu_bytes;
        for (layer, placed) in self.layers.iter().zip(&mut placement.layers).rev() {
            let Some(left) = room.checked_sub(layer.bytes()) else {
                return placement;
            };
            room = left;
            placed.attention = Side::Gpu;
            placed.gpu_blocks = layer.blocks();
        }
        if self.head.bytes <= room {
            placement.head = Side::Gpu;
        }
        placement
    }

    /// PowerInfer's rule: the neurons on the GPU are those that make the most activations, within its memory,
    /// and of each layer none or at least C, where `C T_gpu + T_sync <= C T_cpu` for the seconds T of one
    /// neuron (Song et al., arXiv 2312.12456, section 6). Also solved exactly, in the same blocks.
    ///
    /// Assumed: what is dense goes to the GPU before any neuron, the head first, then attention from the first
    /// layer on.
    pub fn by_frequency(&self) -> Placement {
        let mut placement = self.nowhere();
        let mut room = self.gpu_bytes;
        let attention = self.layers.iter().zip(&mut placement.layers);
        let attention = attention.map(|(layer, placed)| (layer.attention.bytes, &mut placed.attention));
        for (bytes, side) in [(self.head.bytes, &mut placement.head)].into_iter().chain(attention) {
            let Some(left) = room.checked_sub(bytes) else {
                break;
            };
            room = left;
            *side = Side::Gpu;
        }
        let stages: Vec<Stage> = self.layers.iter().map(|layer| self.frequency_stage(layer)).collect();
        let blocks = solver::solve(&stages, 0, room).unwrap_or_default();
        for (placed, blocks) in placement.layers.iter_mut().zip(blocks) {
            placed.gpu_blocks = blocks;
        }
        placement
    }

    /// Costs are the activations that the GPU does not make.
    fn frequency_stage(&self, layer: &Layer) -> Stage {
        let all = layer.splits[layer.blocks()].active;
        let least = self.least_blocks(layer);
        let mut stage = Stage::default();
        for (tag, split) in layer.splits.iter().enumerate().filter(|(blocks, _)| *blocks == 0 || *blocks >= least) {
            stage.offer(0, 0, Choice { bytes: split.bytes, cost: (all - split.active).max(0.0), tag });
        }
        stage.prune();
        stage
    }

    /// C of PowerInfer's rule, in blocks; more than there are where the GPU is no faster.
    fn least_blocks(&self, layer: &Layer) -> usize {
        let [none, all] = [0, layer.blocks()].map(|blocks| layer.splits[blocks]);
        // Seconds of one neuron that is read: the slope over active rows, without what a call costs anyway.
        let inner = |blocks: usize| if layer.blocks() > 1 { layer.splits[blocks] } else { layer.splits[0] };
        let pace = |seconds: f64, rows: f64| if rows > 0.0 { seconds / rows } else { 0.0 };
        let (first, last) = (inner(1), inner(layer.blocks() - 1));
        let gpu_s = pace(all.gpu_s - first.gpu_s, all.active - first.active);
        let cpu_s = pace(none.cpu_s - last.cpu_s, last.active - none.active);
        let gained = layer.neurons.per_block as f64 * (cpu_s - gpu_s);
        if gained > 0.0 { (self.link.split_s() / gained).ceil() as usize } else { usize::MAX }
    }
}
