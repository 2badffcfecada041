//! What stands over everything else and takes all keys: one file each, and its picture of the same
//! name in `view/overlay`.

pub mod add_hive;
pub mod attach;
pub mod blocks;
pub mod confirm;
pub mod conversations;
pub mod filter;
pub mod help;
pub mod palette;
pub mod picker;
pub mod question;
pub mod quit;
pub mod settings;
pub mod theme;
pub mod viewer;

use super::desk::dropped;
use super::event::Effect;
use super::keys::Key;
use super::state::State;
use add_hive::AddHive;
use attach::Attach;
use blocks::Blocks;
use confirm::Confirm;
use conversations::Conversations;
use filter::Typing;
use help::Help;
use palette::Palette;
use picker::Picker;
use question::Asked;
use quit::Quit;
use theme::Chooser;
use viewer::Viewer;

/// What stands over everything else.
#[derive(Debug)]
pub enum Overlay {
    /// The keys.
    Help(Help),
    /// Which theme counts.
    Theme(Chooser),
    /// Which rows of a panel are seen.
    Filter(Typing),
    /// What shall become of the workers.
    Quit(Quit),
    /// Which file goes with the message.
    Attach(Attach),
    /// Which block of code is copied.
    Blocks(Blocks),
    /// Which model to talk with.
    Picker(Picker),
    /// Whether something shall be done.
    Confirm(Confirm),
    /// Something that only the person knows.
    Question(Asked),
    /// A machine that shall become a hive.
    AddHive(AddHive),
    /// A line for words.
    Palette(Palette),
    /// A log, or what an operation says.
    Viewer(Viewer),
    /// The conversations.
    Conversations(Conversations),
    /// How the answers of the conversation are made.
    Settings(settings::Form),
}

impl Overlay {
    /// Takes a key. It was taken out of the state: one that stays open puts itself back.
    pub fn press(self, state: &mut State, key: Key) -> Vec<Effect> {
        match self {
            Self::Help(help) => help.press(state, key),
            Self::Filter(typing) => typing.press(state, key),
            Self::Theme(chooser) => chooser.press(state, key),
            Self::Quit(quit) => quit.press(state, key),
            Self::Attach(attach) => attach.press(state, key),
            Self::Blocks(blocks) => blocks.press(state, key),
            Self::Picker(picker) => picker.press(state, key),
            Self::Confirm(confirm) => confirm.press(state, key),
            Self::Question(asked) => asked.press(state, key),
            Self::Viewer(viewer) => viewer.press(state, key),
            Self::Conversations(it) => it.press(state, key),
            Self::Settings(form) => form.press(state, key),
            Self::AddHive(form) => form.press(state, key),
            Self::Palette(palette) => palette.press(state, key),
        }
    }

    /// The keys that are said at the bottom of the screen; none for those that stand in it.
    pub fn keys(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Help(_) => &[("PgUp", "up"), ("PgDn", "down"), ("Esc", "close")],
            Self::Palette(_) => &[("Enter", "do it"), ("Tab", "complete"), ("Esc", "close")],
            Self::Attach(_) | Self::Blocks(_) | Self::Picker(_) => {
                &[("Enter", "take it"), ("Esc", "close")]
            }
            Self::Filter(_)
            | Self::Theme(_)
            | Self::Quit(_)
            | Self::Confirm(_)
            | Self::Question(_)
            | Self::AddHive(_)
            | Self::Viewer(_)
            | Self::Conversations(_)
            | Self::Settings(_) => &[],
        }
    }

    /// Whether a question may cover it: nothing in it waits for this very key.
    pub fn may_be_covered(&self) -> bool {
        matches!(self, Self::Viewer(_) | Self::AddHive(_))
    }

    /// Takes text that was pasted, where something is typed.
    pub fn paste(&mut self, text: &str) {
        let line = text.trim_end_matches('\n');
        match self {
            Self::Question(asked) => asked.typed.push_str(line),
            Self::Picker(picker) => picker.typed.push_str(line),
            Self::Attach(attach) => {
                attach.typed.push_str(&dropped(line).unwrap_or_else(|| line.into()));
            }
            Self::Viewer(Viewer { typing: Some(typed), .. }) => typed.push_str(line),
            Self::Conversations(it) => it.paste(line),
            Self::Settings(form) => form.paste(line),
            Self::AddHive(form) => form.paste(line),
            Self::Palette(palette) => palette.paste(line),
            Self::Help(_)
            | Self::Blocks(_)
            | Self::Viewer(_)
            | Self::Filter(_)
            | Self::Theme(_)
            | Self::Quit(_)
            | Self::Confirm(_) => {}
        }
    }
}
