//! Operations that go on: begun, told, given up, and what they change for this program.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::mpsc;
use wire::HiveName;

use super::Links;
use super::operate::{Change, Means, operate};
use super::told::{Told, line, words};
use crate::bootstrap::Step;
use crate::config::Config;
use crate::context::Context;
use crate::link::Transport;
use crate::link::way::Way;
use crate::ssh::system::{Target, by_hand};
use crate::tui::event::Event;
use crate::tui::operation::Operation;
use crate::tui::records::{Line, RecordId};
use crate::tui::update::operate::News;

/// Lines of an operation that wait to be taken.
const MAX_LINES: usize = 256;

/// An operation that goes on.
pub struct Operating {
    /// Its hive, when its steps are told by the way to that.
    hive: Option<HiveName>,
    lines: mpsc::Sender<Line>,
    give_up: mpsc::Sender<()>,
    is_followed: bool,
}

impl Links {
    /// Begins an operation.
    pub fn operate(&mut self, id: RecordId, operation: Operation) {
        let (lines, mut said) = mpsc::channel(MAX_LINES);
        let (give_up, mut unwanted) = mpsc::channel(1);
        // These have a connection of their own, whose steps they tell themselves.
        let is_apart = matches!(operation, Operation::Doctor(_) | Operation::Add(..));
        let operating = Operating {
            hive: operation.hive().filter(|_| !is_apart).cloned(),
            lines: lines.clone(),
            give_up,
            is_followed: operation.is_followed(),
        };
        self.operating.insert(id, operating);
        let told = Arc::new(Told { lines, rows: self.witness.clone() });
        let (ways, context) = (self.ways.clone(), self.context.clone());
        let (events, changes) = (self.out.events.clone(), self.changes.clone());
        tokio::task::spawn_local(async move {
            let done = async {
                let (ways, context) = (ways.as_slice(), &*context);
                let mut means = Means { ways, context, told, given_up: &mut unwanted };
                operate(&operation, &mut means).await
            };
            tokio::pin!(done);
            let mut news = Vec::with_capacity(MAX_LINES);
            let outcome = loop {
                tokio::select! {
                    biased;
                    count = said.recv_many(&mut news, MAX_LINES), if !said.is_closed() => {
                        if count > 0 {
                            let lines = News::Lines(std::mem::take(&mut news));
                            // The screen is gone when nobody takes it.
                            let _ = events.send(Event::Operation(id, lines)).await;
                        }
                    }
                    outcome = &mut done => break outcome,
                }
            };
            said.close();
            if said.recv_many(&mut news, MAX_LINES).await > 0 {
                let _ = events.send(Event::Operation(id, News::Lines(news))).await;
            }
            let (outcome, change) = match outcome {
                Ok((line, change)) => (Ok(line), Some(change)),
                Err(fault) => (Err(fault), None),
            };
            let _ = events.send(Event::Operation(id, News::Ended(outcome))).await;
            let _ = changes.send((id, change)).await;
        });
    }

    /// Ends what only goes on because somebody looks, or waits for an answer that nobody wants.
    pub fn abandon(&mut self, id: RecordId) {
        if let Some(operating) = self.operating.get(&id).filter(|one| one.is_followed) {
            // A second one while the first is not taken says the same.
            let _ = operating.give_up.try_send(());
        }
    }

    /// Finds the words that give the terminal to a shell of a hive.
    pub fn shell(&self, hive: &HiveName) {
        let words = match self.context.config.hives.get(hive) {
            None => {
                let shell = (self.context.environment.ssh.variable)("SHELL");
                Ok(vec![shell.unwrap_or_else(|| "/bin/sh".to_owned()).into()])
            }
            Some(settings) => {
                let target = Target {
                    address: settings.address.clone(),
                    identity: settings.identity.clone(),
                    jump: settings.jump.clone(),
                    accept_new: false,
                    may_ask: true,
                };
                by_hand(&target, &self.context.environment.ssh)
            }
        };
        let event = match words {
            Ok(words) => Event::Shell(words),
            Err(fault) => Event::Done(Err(fault)),
        };
        // Where so much waits to be taken, the key is pressed again.
        let _ = self.out.events.try_send(event);
    }

    /// A step of a hive: for its row, and for the record of what is done there.
    pub fn step(&mut self, hive: &HiveName, step: &Step) {
        if let Some(words) = words(step) {
            self.board.step(hive, words);
        }
        for one in self.operating.values().filter(|one| one.hive.as_ref() == Some(hive)) {
            if let Some(line) = line(hive, step) {
                let _ = one.lines.try_send(line);
            }
        }
    }

    /// An operation is over.
    pub fn changed(&mut self, id: RecordId, change: Option<Change>) {
        let over = self.operating.remove(&id);
        if let Some(hive) = over.and_then(|over| over.hive) {
            self.board.no_step(&hive);
        }
        if let Some(Change::Configuration(way)) = change {
            self.reload(way.as_ref());
        }
        self.carry_out(crate::tui::event::Effect::LookAgain);
    }

    /// Takes the configuration as it is now: hives come and go. `added` is the way to a new one.
    fn reload(&mut self, added: Option<&Way>) {
        let loaded = Config::load(&self.context.environment);
        let (config, config_path) = match loaded {
            Ok(loaded) => loaded,
            Err(fault) => {
                // When more news wait than can be taken, this one is not the most urgent.
                let _ = self.out.events.try_send(Event::Done(Err(fault)));
                return;
            }
        };
        let old = self.context.clone();
        let context = Rc::new(Context { config, config_path, ..(*old).clone() });
        let hives = context.hives();
        let same = |hive: &HiveName| context.config.hives.get(hive) == old.config.hives.get(hive);
        let mut ways = Vec::new();
        let mut new = Vec::new();
        for hive in &hives {
            let known = self.ways.iter().find(|way| way.hive() == hive && same(hive)).cloned();
            let fresh = added.filter(|way| way.hive() == hive).cloned();
            let is_new = known.is_none();
            let made = || context.way_seen_by(hive, self.witness.clone()).ok();
            let Some(way) = known.or(fresh).or_else(made) else { continue };
            if is_new {
                new.push(way.clone());
            }
            ways.push(way);
        }
        self.watching.retain(|hive, task| {
            let stays = hives.contains(hive);
            if !stays {
                task.abort();
            }
            stays
        });
        self.board.keep(&hives, self.out.began.elapsed());
        let models = crate::tui::own::models(&context);
        self.context = context;
        self.ways = Rc::new(ways);
        for way in &new {
            self.follow(way);
        }
        let _ = self.out.events.try_send(Event::Configured(models));
    }
}
