//! Other people's dense kernels, to be timed beside ours: what "just run dense" costs.
//!
//! | peer | feature | formats | threads |
//! |---|---|---|---|
//! | `openblas` | `peer-openblas` | f32 | its own |
//! | `gemm` | `peer-gemm` | f32, f16 | none for a GEMV: rows are dealt to rayon's |
//! | `ggml` | `peer-ggml` | all, over the very bytes that ours read | its own |
//! | `ggml-packed` | `peer-ggml` | q4_0, in the order that llama.cpp gives it at load time | its own |
//!
//! A default build has none of them, and needs nothing that they need.

#[cfg(feature = "peer-gemm")]
mod gemm;
#[cfg(feature = "peer-ggml")]
mod ggml;
#[cfg(feature = "peer-openblas")]
mod openblas;

use kernels_cpu::{
    Activation, Cpu, Format, Matrix,
    synthetic::{OwnedMatrix, Random},
};

use crate::{Failure, Result};

/// Computes an FFN once, from x into y.
pub type Run<'a> = Box<dyn FnMut(&[f32], &mut [f32]) -> Result<()> + Send + 'a>;

/// A library that computes a dense FFN.
pub trait Peer: Sync {
    /// Its one spelling.
    fn name(&self) -> &'static str;

    /// Its version, and the instruction sets that it says it uses.
    fn version(&self) -> String;

    /// Formats that it reads.
    fn formats(&self) -> &'static [Format];

    /// Whether it computes on threads of its own, and not on those of the pool that calls it.
    fn brings_threads(&self) -> bool {
        true
    }

    /// The layout that suits it best.
    fn layout(&self) -> Layout {
        Layout::RowPerOutput
    }

    /// Whether this build of it is as good as this processor allows.
    ///
    /// # Errors
    /// It is not; the message says how to build it.
    fn at_its_best(&self) -> Result<()> {
        Ok(())
    }

    /// What runs `down (relu(gate x) * (up x))` on `threads` threads, `y` being overwritten. A peer without threads of
    /// its own uses those of the rayon pool that it is called in.
    ///
    /// # Errors
    /// A format or layout that it does not read; weights that it cannot address.
    fn ffn<'a>(&self, ffn: DenseFfn<'a>, threads: usize) -> Result<Run<'a>>;
}

/// Every peer of this build.
pub fn all() -> Vec<Box<dyn Peer>> {
    vec![
        #[cfg(feature = "peer-openblas")]
        Box::new(openblas::OpenBlas),
        #[cfg(feature = "peer-gemm")]
        Box::new(gemm::Gemm),
        #[cfg(feature = "peer-ggml")]
        Box::new(ggml::Ggml::Plain),
        #[cfg(feature = "peer-ggml")]
        Box::new(ggml::Ggml::Packed),
    ]
}

/// How a dense library stores a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A row of weights per output, each a dot product.
    RowPerOutput,
    /// A row of weights per input, each to be multiplied and added up.
    RowPerInput,
}

/// The matrices of an FFN, all in one layout.
#[derive(Clone, Copy, Debug)]
pub struct DenseFfn<'a> {
    layout: Layout,
    gate: Matrix<'a>,
    up: Matrix<'a>,
    down: Matrix<'a>,
}

impl<'a> DenseFfn<'a> {
    /// An FFN of gate, up and down.
    ///
    /// # Errors
    /// They do not fit together, or are of different formats.
    pub fn new(layout: Layout, [gate, up, down]: [Matrix<'a>; 3]) -> Result<Self> {
        let shape = |m: &Matrix<'_>| (m.format(), m.rows(), m.cols());
        if shape(&up) != shape(&gate) || shape(&down) != (gate.format(), gate.cols(), gate.rows()) {
            return Err(Failure::input(format!(
                "gate {gate}, up {up} and down {down} make no FFN: down has gate's shape, turned"
            )));
        }
        Ok(Self { layout, gate, up, down })
    }

    /// Gate, up and down.
    pub fn matrices(&self) -> [Matrix<'a>; 3] {
        [self.gate, self.up, self.down]
    }

    /// Elements of x and of y.
    pub fn hidden(&self) -> usize {
        if self.layout == Layout::RowPerOutput { self.gate.cols() } else { self.gate.rows() }
    }

    /// Elements between gate and down.
    pub fn neurons(&self) -> usize {
        if self.layout == Layout::RowPerOutput { self.gate.rows() } else { self.gate.cols() }
    }

    /// # Errors
    /// The peer does not read this format or layout.
    pub fn require(&self, peer: &dyn Peer) -> Result<()> {
        let format = self.gate.format();
        if peer.formats().contains(&format) && peer.layout() == self.layout {
            return Ok(());
        }
        Err(Failure::input(format!("{} has no {format} in layout {:?}", peer.name(), self.layout)))
    }

    /// # Errors
    /// `x` or `y` is of another length than [`hidden`](Self::hidden).
    pub fn check(&self, x: &[f32], y: &[f32]) -> Result<()> {
        if x.len() == self.hidden() && y.len() == self.hidden() {
            return Ok(());
        }
        let (x, y, wanted) = (x.len(), y.len(), self.hidden());
        Err(Failure::input(format!(
            "x has {x} elements and y {y}, wanted {wanted} of each: pass slices of that length"
        )))
    }

    /// The FFN of a library that knows a GEMV and no more.
    #[cfg(any(feature = "peer-gemm", feature = "peer-openblas"))]
    fn by_gemv(self, mut gemv: impl FnMut(&Matrix<'_>, &[f32], &mut [f32]) -> Result<()> + Send + 'a) -> Run<'a> {
        let mut h = vec![0.0; self.neurons()];
        let mut up = vec![0.0; self.neurons()];
        Box::new(move |x, y| {
            self.check(x, y)?;
            gemv(&self.gate, x, &mut h)?;
            gemv(&self.up, x, &mut up)?;
            for (h, up) in h.iter_mut().zip(&up) {
                *h = Activation::Relu.apply(*h) * up;
            }
            gemv(&self.down, &h, y)
        })
    }
}

/// The numbers of a matrix where they lie.
///
/// # Safety
/// Every bit pattern is a `T`, and a `T` is a weight of `w`'s format.
#[cfg(any(feature = "peer-gemm", feature = "peer-openblas"))]
unsafe fn numbers<'a, T>(w: &Matrix<'a>) -> Result<&'a [T]> {
    // SAFETY: by the contract; the lifetime is that of the bytes.
    match unsafe { w.bytes().align_to::<T>() } {
        ([], numbers, []) => Ok(numbers),
        _ => Err(Failure::input(format!("{w} is not aligned to {} bytes: copy it", align_of::<T>()))),
    }
}

/// Largest relative error of `y`, in the Euclidean norm, that still counts as agreement.
///
/// Peers round x and h to the weights' format before they multiply, ours do not. With relative rounding errors of at
/// most `u`, independent of the weights, x costs gate and up `u` each, h another, y one more where it is rounded too:
/// about 4 `u`, and as much again to spare. For f32 `u` stands for sums in another order. A wrong row, layout or
/// activation is off by far more.
pub fn tolerance(format: Format) -> f64 {
    8.0 * match format {
        Format::F32 => 1e-6,
        Format::F16 => 2.0_f64.powi(-11),
        Format::Bf16 => 2.0_f64.powi(-9),
        // ggml rounds activations to q8_0 for both: half a step of 127 to the largest of a block.
        Format::Q8_0 | Format::Q4_0 => 1.0 / 254.0,
    }
}

/// Holds a peer against our kernels on a small FFN.
///
/// # Errors
/// It is further off than [`tolerance`], or refuses the weights.
pub fn check(peer: &dyn Peer, format: Format, cpu: &Cpu) -> Result<()> {
    // Whole blocks, and nothing else round about them.
    let (neurons, hidden) = (352, 160);
    let layout = peer.layout();
    let matrix = |outputs, inputs, seed| match layout {
        Layout::RowPerOutput => OwnedMatrix::random(format, outputs, inputs, seed),
        Layout::RowPerInput => OwnedMatrix::random(format, inputs, outputs, seed),
    };
    let (gate, up, down) = (matrix(neurons, hidden, 1)?, matrix(neurons, hidden, 2)?, matrix(hidden, neurons, 3)?);
    let (gate, up, down) = (gate.view()?, up.view()?, down.view()?);
    let multiply = |w: &Matrix<'_>, x: &[f32], outputs: usize| -> Result<Vec<f32>> {
        let rows: Vec<u32> = (0..w.rows() as u32).collect();
        let mut y = vec![0.0; outputs];
        match layout {
            Layout::RowPerOutput => cpu.gemv(w, x, &rows, &mut y)?,
            Layout::RowPerInput => cpu.down(w, x, &rows, &mut y)?,
        }
        Ok(y)
    };
    let x = Random::new(4).vector(hidden);
    let (gates, ups) = (multiply(&gate, &x, neurons)?, multiply(&up, &x, neurons)?);
    let h: Vec<f32> = gates.iter().zip(&ups).map(|(&g, u)| Activation::Relu.apply(g) * u).collect();
    let ours = multiply(&down, &h, hidden)?;

    let mut run = peer.ffn(DenseFfn::new(layout, [gate, up, down])?, cpu.threads())?;
    // Twice: what a run leaves behind must not show in the next.
    for _ in 0..2 {
        let mut theirs = vec![f32::NAN; hidden];
        cpu.install(|| run(&x, &mut theirs))?;
        let square = |v: f64| v * v;
        let error: f64 = ours.iter().zip(&theirs).map(|(o, t)| square(f64::from(o - t))).sum();
        let norm: f64 = ours.iter().map(|o| square(f64::from(*o))).sum();
        let (off, allowed) = ((error / norm).sqrt(), tolerance(format));
        if off.is_nan() || off > allowed {
            let name = peer.name();
            return Err(Failure::short(format!("{name} is off by {off:.1e} in {format}, allowed is {allowed:.1e}")));
        }
    }
    Ok(())
}
