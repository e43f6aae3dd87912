//! OpenBLAS: `sgemv` of the system's library.

use std::ffi::{CStr, c_char, c_int};

use kernels_cpu::Format;

use super::{DenseFfn, Layout, Peer, Run, numbers};
use crate::{Failure, Result};

const ROW_MAJOR: c_int = 101;
const TRANSPOSE: c_int = 112;

#[link(name = "openblas")]
unsafe extern "C" {
    fn cblas_sgemv(
        order: c_int,
        transpose: c_int,
        rows: c_int,
        cols: c_int,
        alpha: f32,
        w: *const f32,
        row_len: c_int,
        x: *const f32,
        x_step: c_int,
        beta: f32,
        y: *mut f32,
        y_step: c_int,
    );
    fn openblas_set_num_threads(threads: c_int);
    fn openblas_get_config() -> *const c_char;
    fn openblas_get_corename() -> *const c_char;
}

/// The library that is linked.
pub(super) struct OpenBlas;

fn config() -> String {
    // SAFETY: takes nothing and returns a C string that is never freed.
    unsafe { CStr::from_ptr(openblas_get_config()) }.to_string_lossy().into_owned()
}

impl Peer for OpenBlas {
    fn name(&self) -> &'static str {
        "openblas"
    }

    fn version(&self) -> String {
        let config = config();
        let version = config.strip_prefix("OpenBLAS ").unwrap_or(&config);
        // SAFETY: takes nothing and returns a C string that is never freed.
        let core = unsafe { CStr::from_ptr(openblas_get_corename()) }.to_string_lossy();
        format!("{} ({core} kernels)", version.split(' ').next().unwrap_or_default())
    }

    fn formats(&self) -> &'static [Format] {
        &[Format::F32]
    }

    /// Rows of dot products took it 22 ms where this takes 18.5, at 28672 x 8192 and with turned shape alike.
    fn layout(&self) -> Layout {
        Layout::RowPerInput
    }

    fn ffn<'a>(&self, ffn: DenseFfn<'a>, threads: usize) -> Result<Run<'a>> {
        ffn.require(self)?;
        if config().contains("USE64BITINT") {
            return Err(Failure::input("this OpenBLAS takes 64-bit integers: install libopenblas with 32-bit ones"));
        }
        let threads = c_int::try_from(threads)?;
        c_int::try_from(ffn.neurons())?;
        c_int::try_from(ffn.hidden())?;
        Ok(ffn.by_gemv(move |w, x, y| {
            // SAFETY: every bit pattern is an f32, which `require` made sure that the weights are.
            let numbers = unsafe { numbers::<f32>(w)? };
            let (rows, cols) = (w.rows() as c_int, w.cols() as c_int);
            // SAFETY: the library takes 32-bit integers and the shape fits them, as checked above; `numbers` has rows
            // x cols elements, x has rows and y has cols, because `by_gemv` checked x and y and made the rest.
            unsafe {
                openblas_set_num_threads(threads);
                let (w, x, y) = (numbers.as_ptr(), x.as_ptr(), y.as_mut_ptr());
                cblas_sgemv(ROW_MAJOR, TRANSPOSE, rows, cols, 1.0, w, cols, x, 1, 0.0, y, 1);
            }
            Ok(())
        }))
    }
}
