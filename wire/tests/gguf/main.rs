//! The GGUF header reader against good files, hostile files and generated ones.

#[cfg(test)]
mod allocations;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod reads;
#[cfg(test)]
mod writer;
