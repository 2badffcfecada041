//! Which key does what: one table, from which keys are looked up and the help is made.

use crate::tui::operation::Deed;

use super::Scope;

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
    /// Asks the last question again.
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

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Binding {
    /// Where it counts.
    pub scope: Scope,
    /// The keys, as words.
    pub keys: &'static [&'static str],
    /// What it does.
    pub action: Action,
    /// Its name: a word of the palette, and of the configuration of keys.
    pub name: &'static str,
    /// What it does, for the help.
    pub says: &'static str,
    /// What it does, in the line at the bottom; empty: it is not shown there.
    pub short: &'static str,
}

const fn bind(
    scope: Scope,
    keys: &'static [&'static str],
    action: Action,
    (name, says): (&'static str, &'static str),
    short: &'static str,
) -> Binding {
    Binding { scope, keys, action, name, says, short }
}

/// Every key of the program.
pub const TABLE: &[Binding] = &[
    bind(Scope::Writing, &["enter"], Action::Send, ("send", "send the message"), "send"),
    bind(
        Scope::Writing,
        &["alt-enter", "ctrl-j"],
        Action::NewLine,
        ("new-line", "begin a new line"),
        "line",
    ),
    bind(
        Scope::Writing,
        &["esc"],
        Action::Back,
        ("back", "cancel the answer, else leave writing"),
        "back",
    ),
    bind(
        Scope::Writing,
        &["pageup"],
        Action::PageUp,
        ("page-up", "scroll the conversation up"),
        "",
    ),
    bind(
        Scope::Writing,
        &["pagedown"],
        Action::PageDown,
        ("page-down", "scroll the conversation down"),
        "",
    ),
    bind(Scope::Chat, &["i", "enter"], Action::Write, ("write", "write a message"), "write"),
    bind(Scope::Chat, &["esc"], Action::Back, ("back", "cancel the answer"), ""),
    bind(Scope::Chat, &["n"], Action::Forget, ("new", "begin a new conversation"), "new"),
    bind(Scope::Chat, &["["], Action::OlderTurn, ("older", "choose the turn before"), ""),
    bind(Scope::Chat, &["]"], Action::NewerTurn, ("newer", "choose the turn after"), ""),
    bind(Scope::Chat, &["y"], Action::Copy, ("copy", "copy the chosen or last answer"), "copy"),
    bind(Scope::Chat, &["Y"], Action::CopyCode, ("copy-code", "copy a block of its code"), ""),
    bind(Scope::Writing, &["alt-a"], Action::Attach, ("attach", "attach a text file"), ""),
    bind(
        Scope::Everywhere,
        &["ctrl-g"],
        Action::Editor,
        ("editor", "write in $VISUAL or $EDITOR"),
        "",
    ),
    bind(Scope::Lanes, &["left", "h"], Action::LaneLeft, ("lane-left", "go to the left one"), ""),
    bind(
        Scope::Lanes,
        &["right", "l"],
        Action::LaneRight,
        ("lane-right", "go to the right one"),
        "next",
    ),
    bind(
        Scope::Lanes,
        &["enter"],
        Action::KeepLane,
        ("keep", "go on with it alone"),
        "go on with it",
    ),
    bind(
        Scope::Lanes,
        &["c"],
        Action::CancelLane,
        ("cancel-lane", "cancel this answer"),
        "cancel it",
    ),
    bind(
        Scope::Lanes,
        &["backspace"],
        Action::EndCompare,
        ("end-compare", "end, take back what was before"),
        "end",
    ),
    bind(
        Scope::Panels,
        &["q"],
        Action::Quit,
        ("quit", "quit; asks what becomes of the workers"),
        "quit",
    ),
    bind(Scope::Panels, &["?"], Action::Help, ("help", "show the keys"), "help"),
    bind(Scope::Panels, &["1"], Action::Panel(1), ("go-to-hives", "go to the hives"), ""),
    bind(Scope::Panels, &["2"], Action::Panel(2), ("go-to-workers", "go to the workers"), ""),
    bind(Scope::Panels, &["3"], Action::Panel(3), ("go-to-chat", "go to the conversation"), ""),
    bind(Scope::Panels, &["4"], Action::Panel(4), ("go-to-events", "go to what happened"), ""),
    bind(
        Scope::Panels,
        &["/"],
        Action::Filter,
        ("filter", "see only rows with some words; Esc clears"),
        "filter",
    ),
    bind(
        Scope::Panels,
        &["esc"],
        Action::ShowAll,
        ("show-all", "clear the filter, else leave the zoom"),
        "",
    ),
    bind(Scope::Panels, &["o"], Action::Sort, ("sort", "another order of the rows"), "sort"),
    bind(Scope::Workers, &["space"], Action::Mark, ("mark", "mark this worker"), ""),
    bind(
        Scope::Panels,
        &["+", "z"],
        Action::Zoom,
        ("zoom", "fill the screen with the panel"),
        "zoom",
    ),
    bind(Scope::Panels, &["up", "k"], Action::Up, ("up", "up"), ""),
    bind(Scope::Panels, &["down", "j"], Action::Down, ("down", "down"), ""),
    bind(Scope::Panels, &["pageup", "ctrl-b"], Action::PageUp, ("page-up", "a page up"), ""),
    bind(
        Scope::Panels,
        &["pagedown", "ctrl-f"],
        Action::PageDown,
        ("page-down", "a page down"),
        "",
    ),
    bind(Scope::Panels, &["home", "g"], Action::Top, ("top", "to the top"), ""),
    bind(Scope::Panels, &["end", "G"], Action::Bottom, ("bottom", "to the end"), ""),
    bind(
        Scope::Panels,
        &["r"],
        Action::LookAgain,
        ("look-again", "try the hives that are not there now"),
        "retry",
    ),
    bind(Scope::Panels, &["i"], Action::Write, ("write", "write a message"), ""),
    bind(Scope::Workers, &["enter"], Action::Choose, ("talk", "talk with this worker"), "talk"),
    bind(
        Scope::Workers,
        &["x"],
        Action::Do(Deed::StopWorker),
        ("stop-worker", "stop this worker; asks before"),
        "stop",
    ),
    bind(
        Scope::Hives,
        &["s"],
        Action::Do(Deed::StartAgent),
        ("start-agent", "start the agent there; asks before"),
        "start",
    ),
    bind(
        Scope::Hives,
        &["S"],
        Action::Do(Deed::StopAgent),
        ("stop-agent", "stop the agent there and its workers; asks before"),
        "",
    ),
    bind(
        Scope::Hives,
        &["I"],
        Action::Do(Deed::Install),
        ("install", "put this build there; asks before"),
        "",
    ),
    bind(Scope::Hives, &["d"], Action::Do(Deed::Doctor), ("doctor", "check the way there"), ""),
    bind(
        Scope::Hives,
        &["l"],
        Action::Do(Deed::HiveLog),
        ("hive-log", "follow its agent's log"),
        "",
    ),
    bind(
        Scope::Hives,
        &["X"],
        Action::Do(Deed::RemoveHive),
        ("remove", "stop what runs there and forget it; asks before"),
        "",
    ),
    bind(
        Scope::Hives,
        &["D"],
        Action::Do(Deed::EndAll),
        ("end-all", "stop everything, on all hives; asks before"),
        "",
    ),
    bind(
        Scope::Workers,
        &["R"],
        Action::Do(Deed::RestartWorker),
        ("restart-worker", "load its model anew; asks before"),
        "",
    ),
    bind(Scope::Workers, &["l"], Action::Do(Deed::WorkerLog), ("worker-log", "follow its log"), ""),
    bind(
        Scope::Workers,
        &["w"],
        Action::Do(Deed::Why),
        ("why", "show where the last request went"),
        "",
    ),
    bind(
        Scope::Panels,
        &["v"],
        Action::Do(Deed::ShowLast),
        ("show-last", "show what the last operation said"),
        "",
    ),
    bind(
        Scope::Everywhere,
        &[],
        Action::Do(Deed::Reload),
        ("reload", "read the configuration again"),
        "",
    ),
    bind(
        Scope::Everywhere,
        &["ctrl-o"],
        Action::Pick,
        ("model", "choose a model by some letters"),
        "model",
    ),
    bind(Scope::Everywhere, &["f1"], Action::Help, ("help", "show the keys"), "help"),
    bind(
        Scope::Everywhere,
        &["tab"],
        Action::NextPanel,
        ("next-panel", "go to the next panel"),
        "panel",
    ),
    bind(
        Scope::Everywhere,
        &["backtab"],
        Action::PreviousPanel,
        ("previous-panel", "go to the panel before"),
        "",
    ),
    bind(Scope::Everywhere, &["alt-1"], Action::Panel(1), ("go-to-hives", "go to the hives"), ""),
    bind(
        Scope::Everywhere,
        &["alt-2"],
        Action::Panel(2),
        ("go-to-workers", "go to the workers"),
        "",
    ),
    bind(
        Scope::Everywhere,
        &["alt-3"],
        Action::Panel(3),
        ("go-to-chat", "go to the conversation"),
        "",
    ),
    bind(
        Scope::Everywhere,
        &["alt-4"],
        Action::Panel(4),
        ("go-to-events", "go to what happened"),
        "",
    ),
    bind(
        Scope::Everywhere,
        &["ctrl-t"],
        Action::Reasoning,
        ("reasoning", "show or fold the reasoning"),
        "",
    ),
    bind(
        Scope::Everywhere,
        &["f6"],
        Action::Mouse,
        ("mouse", "take the mouse, or give it back"),
        "",
    ),
    bind(Scope::Everywhere, &["f2"], Action::Theme, ("theme", "choose a theme"), ""),
    bind(
        Scope::Chat,
        &["e"],
        Action::Edit,
        ("edit", "edit your last question, then the one before"),
        "edit",
    ),
    bind(Scope::Writing, &["alt-n"], Action::Forget, ("new", "begin a new conversation"), ""),
    bind(Scope::Writing, &["alt-e"], Action::Edit, ("edit", "edit a question that was sent"), ""),
    bind(
        Scope::Everywhere,
        &["ctrl-r"],
        Action::Regenerate,
        ("regenerate", "answer the last question again"),
        "",
    ),
    bind(
        Scope::Everywhere,
        &["f4"],
        Action::Settings,
        ("settings", "system prompt and sampling"),
        "",
    ),
    bind(
        Scope::Everywhere,
        &["f3"],
        Action::Conversations,
        ("conversations", "find, open, rename, export"),
        "",
    ),
    bind(
        Scope::Everywhere,
        &["ctrl-c"],
        Action::Interrupt,
        ("interrupt", "cancel the answer, clear the message, or quit"),
        "",
    ),
    bind(Scope::Everywhere, &["ctrl-q"], Action::Quit, ("quit", "quit"), "quit"),
    bind(Scope::Everywhere, &["ctrl-z"], Action::Suspend, ("suspend", "stop until `fg`"), ""),
    bind(
        Scope::Everywhere,
        &["f9"],
        Action::Record,
        ("record", "save what happened, without your text, for `rbee replay`"),
        "",
    ),
    bind(
        Scope::Everywhere,
        &["alt-f9"],
        Action::RecordWhole,
        ("record-whole", "save what happened, with your text and the answers"),
        "",
    ),
    bind(Scope::Everywhere, &["ctrl-l"], Action::Redraw, ("redraw", "draw everything anew"), ""),
    bind(
        Scope::Everywhere,
        &["f5"],
        Action::Compare,
        ("compare", "one message to several models"),
        "compare",
    ),
];
