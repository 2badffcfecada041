//! What keeper, agent and worker agree on: plain types and pure codecs.
//!
//! No tokio, no files, no environment, no clock: everything here is a value or a function of its
//! arguments, so that each program can test against it without running another.

pub mod bounded;
pub mod device;
pub mod doctor;
pub mod event;
pub mod fault;
pub mod generate;
pub mod gguf;
pub mod guard;
pub mod hello;
pub mod hugging_face;
pub mod ids;
pub mod inspection;
pub mod journal;
pub mod json;
pub mod layout;
pub mod limits;
pub mod marker;
pub mod memory;
pub mod model_ref;
pub mod ndjson;
pub mod pull;
pub mod rendering;
pub mod routes;
pub mod safetensors;
pub mod sampling;
pub mod settings;
pub mod silence;
pub mod sse;
pub mod status;
pub mod text;
pub mod timings;
pub mod tokens;
pub mod worker;

pub use device::Device;
pub use fault::{Code, Fault};
pub use ids::{BuildId, HiveName, RequestId, WorkerId};
pub use model_ref::ModelRef;
pub use timings::Timings;
