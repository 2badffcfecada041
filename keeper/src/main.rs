//! rbee.
fn main() {}
