//! Generation: a bounded request becomes a job of the engine, its pieces a stream of events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::mpsc;
use wire::fault::ErrorEnvelope;
use wire::generate::{
    ChatRequest, Choice, ChoiceLogprobs, Chunk, CompletionRequest, Delta, FunctionCall, Prompt,
    ToolCall, Usage,
};
use wire::sampling::{Sampling, SamplingFields};
use wire::{Code, Fault, RequestId, limits, routes, sse};

use super::drain::Ticket;
use super::face::Face;
use super::reply::{self, Refusal};
use crate::engine::{Job, Piece};

/// `POST /v1/chat/completions`.
pub async fn chat(
    State(face): State<Arc<Face>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    generate(&face, Form::Chat, &headers, body).await
}

/// `POST /v1/completions`.
pub async fn complete(
    State(face): State<Arc<Face>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    generate(&face, Form::Raw, &headers, body).await
}

/// Which of OpenAI's two forms a request has.
#[derive(Debug, Clone, Copy)]
enum Form {
    Chat,
    Raw,
}

impl Form {
    fn read(self, json: &[u8]) -> Result<(Prompt, SamplingFields), Fault> {
        Ok(match self {
            Self::Chat => reply::parse::<ChatRequest>(json)?.into_parts(),
            Self::Raw => {
                let request: CompletionRequest = reply::parse(json)?;
                (Prompt::Raw(request.prompt), request.sampling)
            }
        })
    }

    fn object(self) -> &'static str {
        match self {
            Self::Chat => "chat.completion.chunk",
            Self::Raw => "text_completion",
        }
    }
}

async fn generate(
    face: &Face,
    form: Form,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let arrived = Instant::now();
    let id = request_id(headers)?;
    let begun = async {
        let deadline = deadline(headers, arrived)?;
        let left = deadline.map(|at| at.saturating_duration_since(arrived).as_millis());
        let deadline_ms = left.and_then(|ms| u64::try_from(ms).ok());
        tracing::info!(request = %id, deadline_ms, "request received");
        let body = reply::read_body(body, limits::MAX_GENERATE_BYTES).await?;
        let (prompt, fields) = form.read(&body)?;
        drop(body);
        let sampling = Sampling::try_from(&fields).map_err(|invalid| {
            Fault::new(Code::InvalidArgument, invalid.to_string()).detail("parameter", invalid.name)
        })?;
        prompt.check()?;
        let ticket = face.drain().enter()?;
        let (pieces, answer) = mpsc::channel(limits::MAX_TOKEN_BACKLOG);
        let patience = face.patience();
        face.engine()?.submit(Job { id, prompt, sampling, deadline, patience, arrived, pieces })?;
        Ok(Answer { id, form, pieces: answer, ticket, next: None, calls: 0 })
    };
    let mut answer = begun.await.map_err(|fault: Fault| fault.of_request(id))?;
    // What comes first decides between a refusal and a stream.
    match answer.take().await {
        Piece::Failed(fault) => Err(Refusal(fault.of_request(id))),
        piece => {
            answer.next = Some(piece);
            Ok(reply::stream(routes::EVENT_STREAM, answer.into_body()))
        }
    }
}

/// The request's id of the header, or a new one.
fn request_id(headers: &HeaderMap) -> Result<RequestId, Fault> {
    let Some(value) = headers.get(routes::REQUEST_HEADER) else {
        return Ok(RequestId::random());
    };
    value.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
        let message = format!("the header {} is a UUID", routes::REQUEST_HEADER);
        Fault::new(Code::InvalidArgument, message)
    })
}

/// When the request fails, of the header with the milliseconds that are left of it.
fn deadline(headers: &HeaderMap, arrived: Instant) -> Result<Option<Instant>, Fault> {
    let Some(value) = headers.get(routes::DEADLINE_HEADER) else {
        return Ok(None);
    };
    let left = value.to_str().ok().and_then(|text| text.parse().ok());
    match left.filter(|ms| *ms <= limits::MAX_WAIT_MS) {
        Some(0) => Err(Fault::new(Code::DeadlineExceeded, "the deadline passed on the way")),
        Some(ms) => Ok(Some(arrived + Duration::from_millis(ms))),
        None => {
            let message = format!(
                "the header {} is a number of milliseconds up to {}",
                routes::DEADLINE_HEADER,
                limits::MAX_WAIT_MS
            );
            Err(Fault::new(Code::InvalidArgument, message))
        }
    }
}

/// What a request used when its first token comes.
fn usage_so_far(prompt_tokens: u32) -> Usage {
    let total_tokens = prompt_tokens.saturating_add(1);
    Usage { prompt_tokens, completion_tokens: 1, total_tokens, cached_tokens: 0 }
}

/// The answer to one request. Dropping it closes the engine's channel, which frees the slot.
struct Answer {
    id: RequestId,
    form: Form,
    pieces: mpsc::Receiver<Piece>,
    ticket: Ticket,
    /// The piece that was looked at before the stream began.
    next: Option<Piece>,
    /// Calls of tools so far.
    calls: u32,
}

impl Answer {
    /// The next piece, whoever it comes from.
    async fn take(&mut self) -> Piece {
        if let Some(piece) = self.next.take() {
            return piece;
        }
        tokio::select! {
            biased;
            piece = self.pieces.recv() => piece.unwrap_or_else(|| {
                Piece::Failed(Fault::new(Code::WorkerCrashed, "the engine broke off"))
            }),
            fault = self.ticket.cut() => Piece::Failed(fault),
        }
    }

    /// One event a piece, each written as soon as it is there.
    fn into_body(self) -> Body {
        Body::from_stream(futures_util::stream::unfold(Some(self), |answer| async {
            let mut answer = answer?;
            let piece = answer.take().await;
            let is_last = matches!(piece, Piece::Finished { .. } | Piece::Failed(_));
            let event = answer.event(piece);
            let goes_on = !is_last && event.is_ok();
            Some((event, goes_on.then_some(answer)))
        }))
    }

    fn event(&mut self, piece: Piece) -> Result<Bytes, Fault> {
        let mut chunk = Chunk {
            id: self.id.to_string(),
            object: self.form.object().to_owned(),
            choices: Vec::new(),
            usage: None,
            timings: None,
        };
        let event = match piece {
            // A comment: clients skip it, and every hop sees that the worker is alive.
            Piece::Prefilled { done, total } => {
                format!(": prefill {done}/{total}\n\n").into_bytes()
            }
            Piece::Token { id, text, reasoning, calls, logprobs, prompt } => {
                let logprobs = logprobs.map(|one| ChoiceLogprobs { content: vec![*one] });
                let mut choice = Choice { logprobs, ..self.choice(id, text, reasoning) };
                choice.delta.tool_calls = calls.into_iter().map(|call| self.call(call)).collect();
                chunk.choices.push(choice);
                chunk.usage = prompt.map(usage_so_far);
                sse::encode(&chunk)?
            }
            Piece::Finished { reason, usage, timings } => {
                chunk.choices.push(Choice { finish_reason: Some(reason), ..Choice::default() });
                chunk.usage = Some(usage);
                chunk.timings = Some(timings);
                let mut event = sse::encode(&chunk)?;
                event.extend(sse::encode_done());
                event
            }
            Piece::Failed(fault) => {
                sse::encode(&ErrorEnvelope { error: fault.of_request(self.id) })?
            }
        };
        Ok(event.into())
    }

    /// A call with an id: nine letters and digits, since Mistral's templates take no others.
    fn call(&mut self, function: FunctionCall) -> ToolCall {
        let index = self.calls;
        self.calls += 1;
        let id = format!("{:.7}{:02x}", self.id.to_string(), index % 256);
        ToolCall { index, id, kind: "function".to_owned(), function }
    }

    fn choice(&self, id: u32, text: String, reasoning: String) -> Choice {
        let (content, text) = match self.form {
            Form::Chat => (text, String::new()),
            Form::Raw => (String::new(), text),
        };
        let delta = Delta { content, reasoning_content: reasoning, tool_calls: Vec::new() };
        Choice { delta, text, token_ids: vec![id], ..Choice::default() }
    }
}
