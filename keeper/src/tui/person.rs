//! The person at the screen, for servers that ask something: each question is shown, one after the
//! other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use wire::text::one_line;
use zeroize::Zeroizing;

use super::event::{Event, Form, Question, QuestionId};
use crate::ssh::person::{NewHostKey, Person};

/// Bytes of a line of a question.
const MAX_LINE_BYTES: usize = 512;

type Reply = oneshot::Sender<Option<Zeroizing<String>>>;

/// Questions that were asked and not answered.
#[derive(Debug, Clone, Default)]
pub struct Open(Arc<Mutex<(QuestionId, BTreeMap<QuestionId, Reply>)>>);

impl Open {
    fn add(&self, reply: Reply) -> QuestionId {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.0 += 1;
        let id = open.0;
        open.1.insert(id, reply);
        id
    }

    /// Passes an answer on to who asked.
    pub fn reply(&self, id: QuestionId, text: Option<Zeroizing<String>>) {
        let reply = self.0.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&id);
        if let Some(reply) = reply {
            // Who asked may have given up.
            let _ = reply.send(text);
        }
    }
}

/// Shows questions on the screen.
#[derive(Debug)]
pub struct Sitting {
    /// Where they go.
    pub events: mpsc::Sender<Event>,
    /// Where their answers are waited for.
    pub open: Open,
}

impl Sitting {
    async fn ask(&self, lines: Vec<String>, form: Form) -> Option<Zeroizing<String>> {
        let (reply, answer) = oneshot::channel();
        let id = self.open.add(reply);
        self.events.send(Event::Question(Question { id, lines, form })).await.ok()?;
        answer.await.ok().flatten()
    }
}

impl Person for Sitting {
    fn trusts<'a>(&'a self, key: &'a NewHostKey) -> BoxFuture<'a, bool> {
        let clean = |text: &str| one_line(text, MAX_LINE_BYTES);
        let lines = vec![
            format!("The host key of {} is not known here.", clean(&key.host)),
            format!("It shows {}", clean(&key.algorithm)),
            clean(&key.fingerprint),
            "Is that the right one?".to_owned(),
        ];
        Box::pin(async move { self.ask(lines, Form::YesNo).await.is_some() })
    }

    fn answers<'a>(
        &'a self,
        prompt: &'a str,
        echo: bool,
    ) -> BoxFuture<'a, Option<Zeroizing<String>>> {
        let lines = vec![one_line(prompt, MAX_LINE_BYTES)];
        Box::pin(self.ask(lines, Form::Line { shown: echo }))
    }
}
