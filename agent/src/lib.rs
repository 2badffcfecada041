//! rbee.
