//! The paths of both hops and the headers that cross them.

/// Who answers: on every socket of rbee.
pub const HELLO: &str = "/v1/hello";
/// Agent: the process is up.
pub const LIVE: &str = "/health/live";
/// Agent: it takes requests.
pub const READY: &str = "/health/ready";
/// Agent: a request without an end, in which a keeper says something each
/// [`crate::silence::sign_pause`]; what it says does not matter. Answered when it ends.
pub const ALIVE: &str = "/v1/alive";
/// Agent: NDJSON of [`crate::event::Event`]; `?watch=1` asks for telemetry.
pub const EVENTS: &str = "/v1/events";
/// Agent: all workers.
pub const WORKERS_LIST: &str = "/v1/workers/list";
/// Agent: [`crate::worker::SpawnRequest`].
pub const WORKERS_SPAWN: &str = "/v1/workers/spawn";
/// Agent: [`crate::worker::StopRequest`] for one worker; `{id}` is its id.
pub const WORKER_STOP: &str = "/v1/workers/{id}/stop";
/// Agent: [`crate::worker::StopRequest`] for one worker, which is then started again with the same
/// spec; answers with a [`crate::worker::SpawnReply`] once it is. Closes its model's breaker.
pub const WORKER_RESTART: &str = "/v1/workers/{id}/restart";
/// Agent: a chat for one worker; OpenAI's request with rbee's sampling fields.
pub const WORKER_CHAT: &str = "/v1/workers/{id}/chat/completions";
/// Agent: a raw prompt for one worker.
pub const WORKER_COMPLETE: &str = "/v1/workers/{id}/completions";
/// Agent: `[Entry]` of [`crate::journal`], newest first; `?id=PREFIX` for those of one id.
pub const REQUESTS: &str = "/v1/requests";
/// Agent: the lines of its log, as they are on disk; `?lines=N` for the last ones, `?follow=1`
/// to go on.
pub const LOGS: &str = "/v1/logs";
/// Agent: the same of what one worker's engine wrote on its standard error.
pub const WORKER_LOGS: &str = "/v1/workers/{id}/logs";
/// Agent: cancels one request; answers when its slot is free. Harmless to repeat.
pub const REQUEST_CANCEL: &str = "/v1/requests/{id}/cancel";
/// Agent: [`crate::worker::StopRequest`] for all workers; then the agent ends too.
pub const DOWN: &str = "/v1/down";
/// Agent: [`crate::worker::StopRequest`]; then the agent ends and its workers stay, for the next
/// agent to adopt.
pub const HANDOVER: &str = "/v1/handover";
/// Agent: this keeper needs it no more. An ephemeral agent that nobody else is connected to ends.
pub const LEAVE: &str = "/v1/leave";

/// Agent: [`crate::pull::ModelList`].
pub const MODELS_LIST: &str = "/v1/models/list";
/// Agent: [`crate::pull::PullRequest`]; NDJSON of [`crate::pull::PullEvent`]. Whoever asks for a
/// model that is being fetched hears of the same fetching; it ends with its last listener.
pub const MODELS_PULL: &str = "/v1/models/pull";
/// Agent: [`crate::pull::RemoveRequest`].
pub const MODELS_REMOVE: &str = "/v1/models/remove";

/// Agent: `[Check]` of [`crate::doctor`].
pub const DOCTOR: &str = "/v1/doctor";

/// Worker: a chat, as OpenAI has it.
pub const CHAT: &str = "/v1/chat/completions";
/// Worker: a raw prompt, as OpenAI has it.
pub const COMPLETE: &str = "/v1/completions";
/// Worker: NDJSON of [`crate::status::EngineStatus`].
pub const STATUS: &str = "/rbee/v1/status";
/// Worker and guard: end. A worker drains first; a guard walks the stop ladder.
pub const STOP: &str = "/rbee/v1/stop";
/// Guard: NDJSON of [`crate::guard::GuardStatus`].
pub const GUARD: &str = "/rbee/v1/guard";

/// The request's id, from the keeper to the decode loop.
pub const REQUEST_HEADER: &str = "x-rbee-request";
/// Milliseconds that are left of the request's deadline; each hop sends on what remains.
pub const DEADLINE_HEADER: &str = "x-rbee-deadline-ms";
/// Who asks, as it calls itself: a [`crate::journal::ClientName`].
pub const CLIENT_HEADER: &str = "x-rbee-client";
/// Media type of event and status streams.
pub const NDJSON: &str = "application/x-ndjson";
/// Media type of generation (WHATWG HTML, section 9.2).
pub const EVENT_STREAM: &str = "text/event-stream";

/// `route` with its `{id}` filled in.
pub fn with_id(route: &str, id: impl std::fmt::Display) -> String {
    route.replace("{id}", &id.to_string())
}
