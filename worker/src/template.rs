//! `rbee worker template`: one conversation becomes the text that a model is given, and the process
//! ends.

use std::io::{Read, Write};
use std::process::ExitCode;

use wire::rendering::TemplateRequest;
use wire::{Code, Fault, limits};

use crate::cli::TemplateArgs;
use crate::engine::rendering;
use crate::{input, platform};

/// Runs it: one [`TemplateRequest`] on standard input, the rendered text on standard output.
///
/// # Errors
/// `TOO_LARGE` and `INVALID_ARGUMENT` for the request, `TEMPLATE_FAILED` for the template, and
/// those of the model.
pub fn run(args: &TemplateArgs) -> Result<ExitCode, Fault> {
    // The request's bound is far below this one: what passes it is the template.
    platform::limit_data(limits::WORKER_DATA_SLACK_BYTES)
        .map_err(|error| Fault::new(Code::Io, "cannot limit this process's data").cause(error))?;
    let request = read(std::io::stdin().lock())?;
    let text = rendering::render(&request, args.model.as_deref())?;
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Fault::new(Code::Io, "the text cannot be written").cause(error))?;
    Ok(ExitCode::SUCCESS)
}

fn read(from: impl Read) -> Result<TemplateRequest, Fault> {
    let bytes = input::read(from, limits::MAX_TEMPLATE_REQUEST_BYTES)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Fault::new(Code::InvalidArgument, "standard input is no request").cause(error)
    })
}
