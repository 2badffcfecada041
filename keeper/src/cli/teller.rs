//! Tells one answer as it comes: plain text, or one JSON event a line.

use std::io;
use std::time::{Duration, Instant};

use wire::generate::{Choice, Chunk, FinishReason};
use wire::pull::{HubSource, PullEvent};
use wire::worker::WorkerInfo;
use wire::{Fault, HiveName, ModelRef, RequestId, text};

use crate::ask::{Audience, Ending, Placed};
use crate::context::Context;
use crate::failure::Failure;
use crate::link;
use crate::output::event::{Event, Token};
use crate::output::pipe::Pipe;
use crate::output::progress::Progress;
use crate::ssh::client::patience::Deadline;

/// How an answer is written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Form {
    /// One JSON event a line instead of text.
    pub json: bool,
    /// Reasoning too.
    pub think: bool,
    /// The person chose the context, so that a small one is no news.
    pub ctx_chosen: bool,
}

/// Writes an answer to standard output and what is beside it to standard error.
#[derive(Debug)]
pub struct Teller<'a> {
    context: &'a Context,
    form: Form,
    pipe: Pipe,
    progress: Progress,
    began: Instant,
    /// Text of the answer so far; reasoning is not part of it.
    answer: String,
    /// Tokens that have come.
    tokens: usize,
    /// What was written last.
    last: Last,
    /// The request, once a worker took it.
    request: Option<RequestId>,
    /// Whether it was said that a queue is full.
    told_of_retries: bool,
}

/// What stands at the end of what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    Reasoning,
    Answer { newline: bool },
}

impl<'a> Teller<'a> {
    /// A teller with nothing told yet.
    ///
    /// # Errors
    /// `INTERNAL` when the operating system refuses a thread.
    pub fn new(context: &'a Context, form: Form) -> Result<Self, Failure> {
        Ok(Self {
            context,
            form,
            pipe: Pipe::new(io::stdout()).map_err(|error| Failure::of_stdout(&error))?,
            progress: Progress::new(context.environment.terminals.stderr),
            began: Instant::now(),
            answer: String::new(),
            tokens: 0,
            last: Last::Nothing,
            request: None,
            told_of_retries: false,
        })
    }

    /// Text of the answer so far.
    pub fn answer(&self) -> &str {
        &self.answer
    }

    /// Tokens that have come.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// From the making of this teller until now.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Ends what was told: the last newline, or the last event, and everything is written out.
    ///
    /// # Errors
    /// When standard output is closed or full.
    pub async fn finish(mut self, ending: Option<&Ending>) -> Result<(), Failure> {
        self.clear_progress();
        if let (true, Some(ending)) = (self.form.json, ending) {
            let finish_reason = ending.finish_reason.unwrap_or(FinishReason::Unknown);
            let event = Event::Done {
                request: self.request,
                finish_reason: finish_reason.as_str(),
                usage: ending.usage,
                timings: ending.timings,
            };
            self.write(event.line()).await?;
        }
        let open = matches!(self.last, Last::Reasoning | Last::Answer { newline: false });
        if !self.form.json && open {
            self.write("\n".to_owned()).await?;
        }
        self.pipe.finish().await.map_err(|error| Failure::of_stdout(&error))
    }

    /// Takes the line about a load away.
    pub fn clear_progress(&mut self) {
        let _ = self.progress.clear(&mut io::stderr().lock());
    }

    async fn write(&mut self, text: String) -> Result<(), Failure> {
        let text = if self.context.environment.terminals.stdout && !self.form.json {
            text::for_terminal(&text)
        } else {
            text
        };
        let written = self.pipe.write(text.into_bytes()).await;
        written.map_err(|error| Failure::of_stdout(&error))
    }

    async fn tell_text(&mut self, choice: &Choice) -> Result<(), Failure> {
        let mut text = String::new();
        let reasoning = &choice.delta.reasoning_content;
        if self.form.think && !reasoning.is_empty() {
            text.push_str(reasoning);
            self.last = Last::Reasoning;
        }
        let answer = choice.answer();
        if !answer.is_empty() {
            if self.last == Last::Reasoning {
                text.push_str("\n\n");
            }
            text.push_str(answer);
            self.last = Last::Answer { newline: answer.ends_with('\n') };
        }
        if text.is_empty() { Ok(()) } else { self.write(text).await }
    }

    async fn tell_events(&mut self, choice: &Choice) -> Result<(), Failure> {
        let reasoning = &choice.delta.reasoning_content;
        let text = if reasoning.is_empty() {
            choice.answer()
        } else if self.form.think {
            reasoning.as_str()
        } else {
            return Ok(());
        };
        let mut logprobs = choice.logprobs.iter().flat_map(|all| &all.content);
        let mut line = |id, text| {
            let token = Token { id, text, logprobs: logprobs.next() };
            if reasoning.is_empty() { Event::Token(token) } else { Event::Reasoning(token) }.line()
        };
        // A chunk's text belongs to the last of its tokens: the others were held back for it.
        let (last, held) = match choice.token_ids.split_last() {
            Some((last, held)) => (Some(*last), held),
            None => (None, &[][..]),
        };
        let mut lines: String = held.iter().map(|id| line(Some(*id), "")).collect();
        if last.is_some() || !text.is_empty() {
            lines.push_str(&line(last, text));
        }
        let calls = choice.delta.tool_calls.iter();
        lines.extend(calls.map(|call| Event::tool_call(call).line()));
        if lines.is_empty() { Ok(()) } else { self.write(lines).await }
    }
}

impl Audience for Teller<'_> {
    fn deadline(&self, limit: Duration) -> Deadline {
        self.context.dialer.deadline(limit)
    }

    fn absent(&mut self, hive: &HiveName, why: &Fault) {
        self.clear_progress();
        self.context.warn_of(hive, why);
    }

    fn watches_the_queue(&self) -> bool {
        self.context.environment.terminals.stderr
    }

    fn queued(&mut self, ahead: u64, elapsed: Duration) {
        let line = match ahead {
            0 => "waiting for a slot, next in turn".to_owned(),
            1 => "waiting for a slot, 1 request before this one".to_owned(),
            more => format!("waiting for a slot, {more} requests before this one"),
        };
        let line = format!("{line}, {} s", elapsed.as_secs());
        // Progress that cannot be shown is no reason to stop.
        let _ = self.progress.say(&mut io::stderr().lock(), &line);
    }

    fn retries(&mut self, why: &Fault, pause: Duration) {
        self.clear_progress();
        if std::mem::replace(&mut self.told_of_retries, true) {
            return;
        }
        let (why, pause) = (text::for_terminal(&why.message), pause.as_secs());
        self.context.note(&format!("{why}; trying again in {pause} s"));
    }

    fn silent(&mut self, hive: &HiveName, since: Option<Duration>) {
        self.clear_progress();
        let whose = link::named(hive);
        self.context.note(&match since {
            Some(time) => format!("{whose} has been silent for {} s; waiting", time.as_secs_f32()),
            None => format!("{whose} is heard again"),
        });
    }

    fn hub(&mut self) -> Result<HubSource, Fault> {
        self.context.hub()
    }

    fn pulls(&mut self, _: &HiveName, model: &ModelRef, event: &PullEvent) {
        let mut stderr = io::stderr();
        self.progress.fetch(&mut stderr, model, event, |line| self.context.note(line));
    }

    fn waits(&mut self, worker: &WorkerInfo, elapsed: Duration) {
        // Progress that cannot be shown is no reason to stop.
        let _ = self.progress.show(&mut io::stderr().lock(), worker, elapsed);
    }

    async fn placed(&mut self, placed: &Placed) -> Result<(), Failure> {
        self.clear_progress();
        self.request = Some(placed.request);
        let worker = &placed.worker;
        if worker.spec.ctx_size < worker.model_ctx && !self.form.ctx_chosen {
            self.context.note(&format!(
                "the context is {} tokens of the model's own {} (--ctx-size changes it)",
                worker.spec.ctx_size, worker.model_ctx
            ));
        }
        if !self.form.json {
            return Ok(());
        }
        let event = Event::Placed {
            request: placed.request,
            hive: &placed.hive,
            worker: &worker.id,
            device: worker.spec.device,
            model: &worker.spec.model,
            ctx_size: worker.spec.ctx_size,
            reused: placed.reused,
            why: &placed.why,
        };
        self.write(event.line()).await
    }

    async fn chunk(&mut self, chunk: &Chunk) -> Result<(), Failure> {
        let Some(choice) = chunk.choices.first() else { return Ok(()) };
        self.tokens = self.tokens.saturating_add(choice.token_ids.len());
        self.answer.push_str(choice.answer());
        if self.form.json { self.tell_events(choice).await } else { self.tell_text(choice).await }
    }
}

/// One line of figures about an answer.
pub fn stats(ending: &Ending, elapsed: Duration) -> String {
    let (usage, timings) = (&ending.usage, &ending.timings);
    let computed = usage.prompt_tokens.saturating_sub(usage.cached_tokens);
    let first = ending.first_token.map_or(0.0, |time| time.as_secs_f64() * 1000.0);
    format!(
        "prompt {} tokens{} at {} tokens/s, answer {} tokens at {} tokens/s, first token after \
         {first:.0} ms, {:.2} s in all",
        usage.prompt_tokens,
        if usage.cached_tokens > 0 {
            format!(" ({} cached)", usage.cached_tokens)
        } else {
            String::new()
        },
        rate(computed, timings.prefill_ms),
        usage.completion_tokens,
        // The first token comes out of the prefill; decoding makes the others.
        rate(usage.completion_tokens.saturating_sub(1), timings.decode_ms),
        elapsed.as_secs_f64(),
    )
}

fn rate(tokens: u32, ms: f64) -> String {
    if tokens == 0 || ms <= 0.0 {
        return "-".to_owned();
    }
    format!("{:.1}", f64::from(tokens) / ms * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::generate::{GenerationTimings, Usage};

    #[test]
    fn figures_are_of_what_was_computed() {
        let ending = Ending {
            finish_reason: Some(FinishReason::Stop),
            usage: Usage {
                prompt_tokens: 30,
                completion_tokens: 11,
                total_tokens: 41,
                cached_tokens: 10,
            },
            timings: GenerationTimings {
                load_ms: 5.0,
                queue_ms: 0.0,
                prefill_ms: 100.0,
                decode_ms: 50.0,
            },
            first_token: Some(Duration::from_millis(101)),
        };
        let line = stats(&ending, Duration::from_millis(250));
        assert!(line.contains("30 tokens (10 cached) at 200.0"), "{line}");
        assert!(line.contains("11 tokens at 200.0") && line.contains("after 101 ms"), "{line}");
        assert!(stats(&Ending::default(), Duration::ZERO).contains("at - tokens/s"));
    }
}
