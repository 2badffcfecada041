//! One `rbee run` of a soak: started, meddled with, and judged by what it said.

use std::collections::BTreeMap;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rbee_tests::sandbox::Finished;
use serde_json::Value;

/// Tokens of a long answer of which a part may be asked for.
pub const MOST_TOKENS: usize = 700;
/// What is asked.
pub const QUESTIONS: [&str; 3] = ["What is a hive?", "What is rbee?", "What is a worker?"];

/// Codes that a request may end with while something happens to its hive.
const KNOWN: [&str; 9] = [
    "HIVE_UNREACHABLE",
    "AGENT_FAILED",
    "WORKER_CRASHED",
    "WORKER_NOT_FOUND",
    "WORKER_NOT_READY",
    "SHUTTING_DOWN",
    "STALLED",
    "QUEUE_FULL",
    "CANCELLED",
];

/// An answer as it must be: chosen greedily, it is always the same.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    ids: Vec<u64>,
    text: String,
}

impl Answer {
    /// What the events of a `run --json` say.
    pub fn of(events: &[Value]) -> Self {
        let tokens = events.iter().filter(|event| event["event"] == "token");
        let mut answer = Self::default();
        for token in tokens {
            answer.ids.extend(token["id"].as_u64());
            answer.text.push_str(token["text"].as_str().unwrap_or_default());
        }
        answer
    }

    /// How many tokens it has.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    fn begins(&self, whole: &Self) -> bool {
        whole.ids.starts_with(&self.ids) && whole.text.starts_with(&self.text)
    }
}

/// What is asked of whom.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// Which of [`QUESTIONS`].
    pub index: usize,
    /// How many tokens, past every end; none: as many as the answer has.
    pub endless: Option<usize>,
}

impl Question {
    /// The words of the command line.
    pub fn args(self) -> Vec<String> {
        let mut args: Vec<String> = ["--temperature", "0"].map(str::to_owned).into();
        if let Some(tokens) = self.endless {
            args.extend(["--ignore-eos", "--max-tokens"].map(str::to_owned));
            args.push(tokens.to_string());
        }
        args.push(QUESTIONS[self.index].to_owned());
        args
    }
}

/// What all answers must be.
#[derive(Debug, Clone, Default)]
pub struct Answers(pub BTreeMap<(usize, bool), Answer>);

impl Answers {
    fn to(&self, question: Question) -> &Answer {
        &self.0[&(question.index, question.endless.is_some())]
    }
}

/// What was done to a keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meddling {
    /// SIGINT.
    Interrupted,
    /// SIGKILL.
    Killed,
}

/// A request that runs.
#[derive(Debug)]
pub struct Request {
    /// Stands on its command line, so that its process can be found.
    pub number: u32,
    /// Whom it asks.
    pub hive: usize,
    /// What it asks.
    pub question: Question,
    /// How often the hive had been disturbed when it began; none when it was just then.
    pub calm_since: Option<u64>,
    /// When it began.
    pub began: Instant,
    /// What was done to its keeper, and when.
    pub meddled: Option<(Meddling, Instant)>,
    /// What reads its output.
    pub reader: JoinHandle<(Finished, Instant)>,
}

/// How a request ended.
#[derive(Debug)]
pub struct Ended {
    /// The code of its error, `done`, or what was done to its keeper.
    pub how: String,
    /// Tokens that came.
    pub tokens: usize,
    /// When.
    pub at: Instant,
    /// After how long.
    pub took: Duration,
}

impl Request {
    /// Judges what it said. `undisturbed`: nothing happened to its hive meanwhile.
    pub fn judge(self, answers: &Answers, undisturbed: bool) -> Result<Ended, String> {
        let (finished, at) = self.reader.join().map_err(|_| "its reader panicked".to_owned())?;
        let question = self.question;
        let wrong = |what: &str| {
            let Finished { code, stdout, stderr } = &finished;
            let tail: String = stdout.lines().rev().take(3).collect::<Vec<_>>().join("\n");
            format!("{what}: {question:?} exit {code:?}\nlast lines: {tail}\nstderr: {stderr}")
        };
        let events = finished.json_lines();
        let answer = Answer::of(&events);
        let whole = answers.to(question);
        if !answer.begins(whole) {
            return Err(wrong("tokens were lost, doubled or wrong"));
        }
        let ends = |event: &&Value| event["event"] == "done" || event["event"] == "error";
        let count = events.iter().filter(ends).count();
        let last = events.last().filter(ends);
        let how = match (last, self.meddled.map(|(what, _)| what)) {
            _ if count > 1 || (count == 1 && last.is_none()) => {
                return Err(wrong("it ended more than once"));
            }
            (Some(event), _) if event["event"] == "done" => {
                let expected = question.endless.unwrap_or(whole.tokens());
                let told = event["usage"]["completion_tokens"].as_u64();
                let is_whole = answer.tokens() == expected;
                if finished.code != Some(0) || !is_whole || told != u64::try_from(expected).ok() {
                    return Err(wrong("it says that it is done and is not"));
                }
                "done".to_owned()
            }
            (_, Some(Meddling::Killed)) if !matches!(finished.code, Some(0)) => "killed".to_owned(),
            (None, Some(Meddling::Interrupted)) if finished.code == Some(130) => {
                "interrupted".to_owned()
            }
            (Some(event), meddled) => {
                let code = event["code"].as_str().unwrap_or_default().to_owned();
                if !KNOWN.contains(&code.as_str()) {
                    return Err(wrong("it ended with a code that nothing explains"));
                }
                if undisturbed && meddled.is_none() {
                    return Err(wrong("nothing had happened, and it failed"));
                }
                code
            }
            (None, _) => return Err(wrong("it never ended")),
        };
        Ok(Ended { how, tokens: answer.tokens(), at, took: at - self.began })
    }
}
