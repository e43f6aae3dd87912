//! The non-linearity between gate and up.

/// The gate's non-linearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `max(0, g)`: ReGLU, the sparse kind.
    Relu,
    /// `g / (1 + exp(-g))`: SwiGLU.
    Silu,
}

impl Activation {
    /// The activation of one gate value. NaN stays NaN.
    pub fn apply(self, gate: f32) -> f32 {
        match self {
            // Not `max`, which would turn NaN into zero.
            Self::Relu => {
                if gate < 0.0 {
                    0.0
                } else {
                    gate
                }
            }
            // The limit at minus infinity is zero; the quotient of two infinities is not.
            Self::Silu if gate == f32::NEG_INFINITY => -0.0,
            Self::Silu => gate / (1.0 + (-gate).exp()),
        }
    }

    /// `h = act(gate) * up`, element by element.
    #[inline]
    pub(crate) fn gate(self, gate: &[f32], up: &[f32], h: &mut [f32]) {
        for ((h, &gate), up) in h.iter_mut().zip(gate).zip(up) {
            *h = self.apply(gate) * up;
        }
    }
}
