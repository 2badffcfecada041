//! Everything that the screen shows, as plain data.

use std::sync::Arc;

use wire::text::one_line;
use wire::worker::WorkerInfo;
use wire::{Fault, HiveName, ModelRef, WorkerId};

use super::archive::Archive;
use super::board::{Board, Stand};
use super::chat::Chat;
use super::diary::Diary;
use super::draft::Draft;
use super::event::Question;
use super::keys::{KeyMap, Scope};
use super::lanes::{Lane, Lanes};
use super::overlay::Overlay;
use super::overlay::question::Asked;
use super::panels::{self, Panels};
use super::records::Records;
use crate::conversations::Settings;
use crate::fleet::Moment;
use crate::link::watch::Standing;
use crate::output::theme::Theme;

/// Bytes of the line that tells what happened.
const MAX_NOTICE_BYTES: usize = 400;

/// Where keys go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Focus {
    /// To the hives.
    Hives,
    /// To the workers.
    Workers,
    /// To what happened.
    Events,
    /// To the conversation, to scroll it.
    Chat,
    /// To the message that is written.
    #[default]
    Writing,
}

impl Focus {
    /// Where its keys are looked up, nearest first.
    pub fn scopes(self) -> &'static [Scope] {
        match self {
            Self::Hives => &[Scope::Hives, Scope::Panels, Scope::Everywhere],
            Self::Workers => &[Scope::Workers, Scope::Panels, Scope::Everywhere],
            Self::Events => &[Scope::Panels, Scope::Everywhere],
            Self::Chat => &[Scope::Chat, Scope::Panels, Scope::Everywhere],
            Self::Writing => &[Scope::Writing, Scope::Everywhere],
        }
    }

    /// Whether it is the panel of the conversation.
    pub fn is_chat(self) -> bool {
        matches!(self, Self::Chat | Self::Writing)
    }
}

/// One line that tells what happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// What.
    pub text: String,
    /// Whether somebody should look at it.
    pub warns: bool,
    /// When.
    pub at: Moment,
}

/// What of the terminal is drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    #[default]
    Whole,
    /// Its last rows, and nothing but the conversation.
    Inline,
}

/// Everything that the screen shows.
#[derive(Debug)]
pub struct State {
    /// The time of what happened last.
    pub now: Moment,
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
    /// The hives.
    pub board: Arc<Board>,
    /// Where keys go.
    pub focus: Focus,
    /// Whether the panel that keys go to fills the screen.
    pub zoomed: bool,
    /// The topmost of them takes the keys.
    pub overlay: Option<Overlay>,
    /// Questions that wait for their turn.
    pub questions: Vec<Question>,
    /// The conversations that are on the screen: one, as long as none are compared.
    pub lanes: Lanes,
    /// What is written next; all lanes get it.
    pub draft: Draft,
    /// What of the terminal is drawn.
    pub extent: Extent,
    /// How answers are made where a conversation says nothing: the configuration.
    pub defaults: Settings,
    /// How things are with the file of conversations.
    pub archive: Archive,
    /// The turn whose question is in the editor: sending it drops that turn and what followed.
    pub editing: Option<usize>,
    /// Models that the configuration names.
    pub models: Vec<(String, ModelRef)>,
    /// The chosen hive.
    pub hive: Option<HiveName>,
    /// The chosen worker.
    pub worker: Option<(HiveName, WorkerId)>,
    /// How the lists are looked at.
    pub panels: Panels,
    /// What happened.
    pub diary: Diary,
    /// Lines of the palette, oldest first.
    pub commands: Vec<String>,
    /// What operations and logs say.
    pub records: Records,
    /// What happened last.
    pub notice: Option<Notice>,
    /// Whether the mouse is ours.
    pub mouse: bool,
    /// Whether quitting stops the workers, when nothing else is chosen.
    pub stops: bool,
    /// What keys do.
    pub keys: KeyMap,
    /// The colours.
    pub theme: Theme,
    /// Those to choose from.
    pub themes: Vec<Theme>,
}

impl State {
    /// A fresh one.
    pub fn new(size: (u16, u16), board: Board, chat: Chat, theme: Theme) -> Self {
        Self {
            now: Moment::ZERO,
            size,
            board: Arc::new(board),
            focus: Focus::default(),
            zoomed: false,
            overlay: None,
            questions: Vec::new(),
            lanes: chat.into(),
            draft: Draft::default(),
            extent: Extent::default(),
            defaults: Settings::default(),
            archive: Archive::default(),
            editing: None,
            models: Vec::new(),
            hive: None,
            worker: None,
            panels: Panels::default(),
            diary: Diary::default(),
            commands: Vec::new(),
            records: Records::default(),
            notice: None,
            mouse: false,
            stops: false,
            keys: KeyMap::default(),
            theme,
            themes: Theme::all_built_in(),
        }
    }

    /// Whether only the last rows of the terminal are drawn.
    pub fn is_inline(&self) -> bool {
        self.extent == Extent::Inline
    }

    /// The lane that keys go to.
    pub fn lane(&self) -> &Lane {
        self.lanes.focused()
    }

    /// The lane that keys go to.
    pub fn lane_mut(&mut self) -> &mut Lane {
        self.lanes.focused_mut()
    }

    /// The conversation of that lane.
    pub fn chat(&self) -> &Chat {
        &self.lane().chat
    }

    /// The conversation of that lane.
    pub fn chat_mut(&mut self) -> &mut Chat {
        &mut self.lane_mut().chat
    }

    /// Where keys are looked up, nearest first.
    pub fn scopes(&self) -> &'static [Scope] {
        match self.focus {
            Focus::Chat if self.lanes.is_comparing() => {
                &[Scope::Lanes, Scope::Chat, Scope::Panels, Scope::Everywhere]
            }
            focus => focus.scopes(),
        }
    }

    /// The workers that are seen, in the order of the screen.
    pub fn workers(&self) -> Vec<(&HiveName, &WorkerInfo)> {
        panels::workers(&self.board, &self.panels)
    }

    /// The hives that are seen, in the order of the screen.
    pub fn hives(&self) -> Vec<&HiveName> {
        panels::hives(&self.board, &self.panels)
    }

    /// Workers that a quit may keep or stop.
    pub fn live_workers(&self) -> usize {
        self.board.workers().filter(|(_, worker)| !worker.state.is_finished()).count()
    }

    /// Hives of which nobody knows yet what is loaded there.
    pub fn unknown_hives(&self) -> usize {
        let is_unknown = |stand: &Stand| stand.standing == Standing::Connecting;
        self.board.hives().filter(|(_, stand)| is_unknown(stand)).count()
    }

    /// Tells something in the bottom line.
    pub fn tell(&mut self, text: impl Into<String>) {
        self.note(&text.into(), false);
    }

    /// Tells of something that failed.
    pub fn warn(&mut self, fault: &Fault) {
        let hint = fault.hints.first().map(|hint| format!(" — {hint}")).unwrap_or_default();
        self.caution(format!("{}{hint}", fault.message));
    }

    /// Tells something that somebody should look at.
    pub fn caution(&mut self, text: impl AsRef<str>) {
        self.note(text.as_ref(), true);
    }

    /// Everything that is told may have words of a hive in it.
    fn note(&mut self, text: &str, warns: bool) {
        let text = one_line(text, MAX_NOTICE_BYTES);
        self.notice = Some(Notice { text, warns, at: self.now });
    }

    /// The next question takes the screen, when nothing has it that must be answered first.
    pub fn ask_next(&mut self) {
        let waits = self.overlay.as_ref().is_some_and(|overlay| !overlay.may_be_covered());
        if !waits && !self.questions.is_empty() {
            let mut asked = Asked::from(self.questions.remove(0));
            asked.below = self.overlay.take().map(Box::new);
            self.overlay = Some(Overlay::Question(asked));
        }
    }
}
