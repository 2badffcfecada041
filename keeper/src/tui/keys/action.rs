//! What a key, or a word of the palette, can do.

use crate::tui::operation::Deed;

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Ends the program, or asks how.
    Quit,
    /// Cancels what runs, clears what is written, or asks whether to leave.
    Interrupt,
    /// Shows the keys.
    Help,
    /// Goes to the next panel.
    NextPanel,
    /// Goes to the panel before.
    PreviousPanel,
    /// Goes to a panel by its number.
    Panel(u8),
    /// Lets the panel fill the screen, or takes it back.
    Zoom,
    /// Goes back: cancels an answer, leaves writing.
    Back,
    /// Sends the message.
    Send,
    /// Begins a new line in the message.
    NewLine,
    /// Begins to write.
    Write,
    /// Forgets the conversation.
    Forget,
    /// Shows the conversations.
    Conversations,
    /// Shows how the answers of the conversation are made.
    Settings,
    /// Takes a question back into the editor.
    Edit,
    /// Asks the question that is meant again.
    Regenerate,
    /// Shows or folds the model's reasoning.
    Reasoning,
    /// A row up.
    Up,
    /// A row down.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// To the first row.
    Top,
    /// To the last row.
    Bottom,
    /// Another order of the panel.
    Sort,
    /// Sees only rows with some words.
    Filter,
    /// Sees all rows again, or all panels.
    ShowAll,
    /// Marks the chosen row.
    Mark,
    /// Talks with the chosen worker.
    Choose,
    /// Tries the hives again that are not there.
    LookAgain,
    /// Chooses a model.
    Pick,
    /// Means the turn before.
    OlderTurn,
    /// Means the turn after.
    NewerTurn,
    /// Copies an answer.
    Copy,
    /// Copies a block of code.
    CopyCode,
    /// Lets a file go with the message.
    Attach,
    /// Writes the message with the person's editor.
    Editor,
    /// Chooses with whom to compare.
    Compare,
    /// Goes to the lane on the left.
    LaneLeft,
    /// Goes to the lane on the right.
    LaneRight,
    /// Goes on with the focused lane alone.
    KeepLane,
    /// Cancels the answer of the focused lane.
    CancelLane,
    /// Ends comparing.
    EndCompare,
    /// Does something to hives or workers.
    Do(Deed),
    /// Another theme.
    Theme,
    /// Takes the mouse, or gives it back.
    Mouse,
    /// Stops the program until the shell continues it.
    Suspend,
    /// Writes what happened last to a file.
    Record,
    /// The same with what was written and answered.
    RecordWhole,
    /// Draws everything anew.
    Redraw,
}
