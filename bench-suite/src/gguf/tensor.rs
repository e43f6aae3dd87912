//! A tensor of a file: a name, a shape, a format, and bytes that lie where they lay.

use std::fmt;

use kernels_cpu::{Format, Matrix};

use super::Error;

/// Sizes of a tensor in the order of the file: the weights of a row first, then rows. At most four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    sizes: [usize; 4],
    dimensions: usize,
}

impl Shape {
    /// A shape of one to four sizes.
    ///
    /// # Errors
    /// None of them, or more.
    pub fn new(tensor: &str, sizes: &[usize]) -> Result<Self, Error> {
        let dimensions = sizes.len();
        if !(1..=4).contains(&dimensions) {
            return Err(Error::Dimensions { tensor: tensor.to_owned(), given: dimensions as u32 });
        }
        let mut all = [1; 4];
        all[..dimensions].copy_from_slice(sizes);
        Ok(Self { sizes: all, dimensions })
    }

    /// The sizes.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes[..self.dimensions]
    }

    /// Weights of a row.
    pub fn row(&self) -> usize {
        self.sizes[0]
    }

    /// Bytes in `format`.
    pub(crate) fn bytes(&self, tensor: &str, format: Format) -> Result<usize, Error> {
        let (row, block) = (self.row(), format.block_len());
        if !row.is_multiple_of(block) {
            return Err(Error::PartialBlock { tensor: tensor.to_owned(), row, block });
        }
        let row_bytes = (row / block).checked_mul(format.block_bytes());
        let bytes = self.sizes[1..].iter().fold(row_bytes, |bytes, &size| bytes?.checked_mul(size));
        // A slice is never longer.
        let bytes = bytes.filter(|&bytes| isize::try_from(bytes).is_ok());
        bytes.ok_or_else(|| Error::TooLarge { tensor: tensor.to_owned(), shape: *self })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<String> = self.sizes().iter().map(usize::to_string).collect();
        f.pad(&format!("[{}]", sizes.join(", ")))
    }
}

/// A tensor, borrowed from its file.
#[derive(Clone, Copy, PartialEq)]
pub struct Tensor<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its shape.
    pub shape: Shape,
    /// How its weights lie.
    pub format: Format,
    /// The weights: exactly as many bytes as shape and format take.
    pub bytes: &'a [u8],
}

impl<'a> Tensor<'a> {
    /// As a matrix of `rows` x `cols`; `None` takes any size.
    ///
    /// # Errors
    /// Another shape.
    pub fn matrix(&self, rows: Option<usize>, cols: Option<usize>) -> Result<Matrix<'a>, Error> {
        let fits = |given: usize, wanted: Option<usize>| wanted.is_none_or(|wanted| wanted == given);
        let wrong = || {
            let text = |size: Option<usize>| size.map_or("?".to_owned(), |size| size.to_string());
            Error::WrongShape {
                tensor: self.name.to_owned(),
                given: self.shape,
                wanted: format!("[{}, {}]", text(cols), text(rows)),
            }
        };
        let [own_cols, own_rows, 1, 1] = self.shape.sizes else { return Err(wrong()) };
        if !fits(own_rows, rows) || !fits(own_cols, cols) {
            return Err(wrong());
        }
        Matrix::new(self.format, own_rows, own_cols, self.bytes).map_err(|_| wrong())
    }

    /// As a vector of f32.
    ///
    /// # Errors
    /// Another length, another type.
    pub fn vector(&self, len: usize) -> Result<Vec<f32>, Error> {
        if self.format != Format::F32 {
            return Err(Error::TensorType {
                tensor: self.name.to_owned(),
                given: format!("{} where only F32 will do", type_name(type_id(self.format))),
            });
        }
        if self.shape.sizes != [len, 1, 1, 1] {
            let wanted = format!("[{len}]");
            return Err(Error::WrongShape { tensor: self.name.to_owned(), given: self.shape, wanted });
        }
        Ok(self.format.decode_row(self.bytes))
    }
}

impl fmt::Debug for Tensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {} {})", self.name, self.format, self.shape)
    }
}

/// Numbers of types in files, from `ggml.h`: those that are read, and the names of others for messages.
pub(crate) fn type_id(format: Format) -> u32 {
    match format {
        Format::F32 => 0,
        Format::F16 => 1,
        Format::Q4_0 => 2,
        Format::Q8_0 => 8,
        Format::Bf16 => 30,
    }
}

pub(crate) fn format_of(type_id: u32) -> Option<Format> {
    Format::ALL.into_iter().find(|&format| self::type_id(format) == type_id)
}

pub(crate) fn type_name(type_id: u32) -> String {
    const NAMES: [&str; 43] = [
        "F32", "F16", "Q4_0", "Q4_1", "4", "5", "Q5_0", "Q5_1", "Q8_0", "Q8_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
        "Q8_K", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "I8", "I16", "I32",
        "I64", "F64", "IQ1_M", "BF16", "31", "32", "33", "TQ1_0", "TQ2_0", "36", "37", "38", "MXFP4", "NVFP4", "Q1_0",
        "Q2_0",
    ];
    NAMES.get(type_id as usize).map_or_else(|| type_id.to_string(), |&name| name.to_owned())
}
