//! How the keeper writes to a terminal and to a pipe.

pub mod aside;
pub mod clock;
pub mod event;
pub mod looks;
pub mod pipe;
pub mod progress;
pub mod style;
pub mod table;
pub mod theme;
