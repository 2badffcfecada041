//! A matrix that activations are multiplied with, and what is added after it.

use std::ops::Range;
use std::sync::Arc;

use candle_core::quantized::QMatMul;
use candle_core::{Module, Result, Tensor};
use wire::Fault;

use super::super::weights::{Loader, matrix};

/// A matrix and what is added after it.
pub(super) struct Linear {
    weight: QMatMul,
    bias: Option<Tensor>,
}

impl Linear {
    /// Takes `name.weight`, of `[rows, columns]`, and `name.bias`, if there is one.
    pub(super) fn load(
        loader: &mut Loader<'_>,
        name: &str,
        dims: [usize; 2],
    ) -> std::result::Result<Self, Fault> {
        let weight = matrix(Arc::new(loader.tensor(&format!("{name}.weight"), &dims)?))?;
        let [rows, _] = dims;
        let bias = loader.optional_vector(&format!("{name}.bias"), rows)?;
        Ok(Self { weight, bias })
    }

    /// Takes some rows of the tensor `name`, whose shape is `dims`: outer dimensions count as one.
    pub(super) fn load_rows(
        loader: &mut Loader<'_>,
        name: &str,
        dims: &[usize],
        rows: Range<usize>,
    ) -> std::result::Result<Self, Fault> {
        let shape = vec![rows.len(), dims.last().copied().unwrap_or(1)];
        let weight = matrix(Arc::new(loader.rows(name, dims, rows, shape)?))?;
        Ok(Self { weight, bias: None })
    }

    /// Computes `(rows of input, rows of the matrix)`.
    pub(super) fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let output = self.weight.forward(input)?;
        match &self.bias {
            Some(bias) => output.broadcast_add(bias),
            None => Ok(output),
        }
    }
}
