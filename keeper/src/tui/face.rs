//! Where the TUI is seen: on the whole terminal, or below what the terminal shows already.

use wire::Fault;

use super::inline::Inline;
use super::look::Look;
use super::screen::Screen;
use super::state::State;
use super::view;

/// Where it is seen.
pub enum Face {
    /// On the other screen of the terminal.
    Whole(Screen),
    /// In the last rows of the usual one.
    Inline(Inline),
}

impl Face {
    /// Takes the terminal of this process.
    ///
    /// # Errors
    /// `IO_ERROR` when it cannot be read or written.
    pub fn of_this_process(inline: bool) -> Result<Self, Fault> {
        Ok(if inline {
            Self::Inline(Inline::of_this_process()?)
        } else {
            Self::Whole(Screen::of_this_process()?)
        })
    }

    /// Takes the mouse too, or leaves it to the terminal. Below what the terminal shows it stays
    /// the terminal's own: it selects and scrolls there.
    ///
    /// # Errors
    /// `IO_ERROR` when the terminal cannot be written.
    pub fn take_mouse(&mut self, taken: bool) -> Result<(), Fault> {
        match self {
            Self::Whole(screen) => screen.take_mouse(taken),
            Self::Inline(_) => Ok(()),
        }
    }

    /// Columns and rows of the terminal.
    pub fn size(&self) -> (u16, u16) {
        match self {
            Self::Whole(screen) => screen.size(),
            Self::Inline(inline) => inline.size(),
        }
    }

    /// Takes the terminal again after it was given back; everything is drawn anew.
    ///
    /// # Errors
    /// `IO_ERROR` when it cannot be read or written.
    pub fn enter(&mut self) -> Result<(), Fault> {
        match self {
            Self::Whole(screen) => screen.enter(),
            Self::Inline(inline) => inline.enter(),
        }
    }

    /// Gives the terminal back for a while.
    pub fn leave(&mut self) {
        match self {
            Self::Whole(_) => super::screen::give_back(),
            Self::Inline(inline) => inline.leave(),
        }
    }

    /// Everything is drawn anew, on so many columns and rows.
    ///
    /// # Errors
    /// `IO_ERROR` when the terminal cannot be written.
    pub fn resize(&mut self, size: (u16, u16)) -> Result<(), Fault> {
        match self {
            Self::Whole(screen) => screen.resize(size),
            Self::Inline(inline) => {
                inline.resize();
                Ok(())
            }
        }
    }

    /// Draws what changed.
    ///
    /// # Errors
    /// `IO_ERROR` when the terminal cannot be written.
    pub fn draw(&mut self, state: &mut State, look: &Look) -> Result<(), Fault> {
        match self {
            Self::Whole(screen) => {
                view::layout::lay_out(state);
                let state = &*state;
                screen.draw(|frame| view::view(state, look, frame))
            }
            Self::Inline(inline) => inline.draw(state, look),
        }
    }
}
