//! Metadata values, widened to one type for each kind of number.

use std::collections::BTreeMap;

/// A metadata value. Arrays are homogeneous, as the format has them.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any unsigned integer type.
    Unsigned(u64),
    /// Any signed integer type.
    Signed(i64),
    /// f32 or f64.
    Float(f64),
    /// bool.
    Bool(bool),
    /// UTF-8 text; untrusted.
    Text(String),
    /// An array.
    Array(Array),
}

/// A metadata array.
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    /// Unsigned integers.
    Unsigned(Vec<u64>),
    /// Signed integers.
    Signed(Vec<i64>),
    /// Floats.
    Float(Vec<f64>),
    /// Booleans.
    Bool(Vec<bool>),
    /// Texts; untrusted.
    Text(Vec<String>),
}

/// All metadata by key.
pub type Metadata = BTreeMap<String, Value>;

impl Value {
    /// The number of an unsigned or a non-negative signed integer.
    pub fn unsigned(&self) -> Option<u64> {
        match self {
            Self::Unsigned(n) => Some(*n),
            Self::Signed(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }

    /// The number of a float or, to the nearest float, of an integer.
    pub fn float(&self) -> Option<f64> {
        match self {
            Self::Float(x) => Some(*x),
            Self::Unsigned(n) => Some(unsigned_to_float(*n)),
            Self::Signed(n) => Some(signed_to_float(*n)),
            _ => None,
        }
    }
}

impl Array {
    /// The numbers of an array of unsigned or of non-negative signed integers.
    pub fn unsigneds(&self) -> Option<Vec<u64>> {
        match self {
            Self::Unsigned(all) => Some(all.clone()),
            Self::Signed(all) => all.iter().map(|n| u64::try_from(*n).ok()).collect(),
            _ => None,
        }
    }

    /// The numbers of an array of floats or, to the nearest float, of integers.
    pub fn floats(&self) -> Option<Vec<f64>> {
        match self {
            Self::Float(all) => Some(all.clone()),
            Self::Unsigned(all) => Some(all.iter().copied().map(unsigned_to_float).collect()),
            Self::Signed(all) => Some(all.iter().copied().map(signed_to_float).collect()),
            _ => None,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "the nearest float is what is asked for")]
fn unsigned_to_float(n: u64) -> f64 {
    n as f64
}

#[expect(clippy::cast_precision_loss, reason = "the nearest float is what is asked for")]
fn signed_to_float(n: i64) -> f64 {
    n as f64
}
