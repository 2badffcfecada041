//! What came back from the person's own machine and from operations, as a recording has it: within
//! bounds, and without the person's text where that is not asked for.

use std::path::PathBuf;

use wire::text::one_line;

use super::mask::masked;
use crate::conversations::desk::Reply;
use crate::conversations::{Conversation, Entry, Head, MAX_TITLE_BYTES, Settings};
use crate::tui::desk::{Attachment, News as Own};
use crate::tui::records::Line;
use crate::tui::update::operate::News as Done;

/// Bytes of the turns of a conversation that are kept, the newest ones: many screens of them.
const MAX_CONVERSATION_BYTES: usize = 1024 * 1024;
/// Bytes that an item takes besides its text, about.
const ITEM_BYTES: usize = 128;

/// A reply without what no screen shows.
pub fn bounded(reply: &Reply) -> Reply {
    let Reply::Loaded(conversation) = reply else { return reply.clone() };
    let mut left = MAX_CONVERSATION_BYTES;
    let fits = conversation.turns.iter().rev().take_while(|said| {
        let fits = said.bytes() <= left;
        left = left.saturating_sub(said.bytes());
        fits
    });
    let count = fits.count();
    let first = conversation.turns.len() - count;
    let turns = conversation.turns.iter().skip(first).cloned().collect();
    let is_cut = conversation.is_cut || first > 0;
    Reply::Loaded(Box::new(Conversation { head: conversation.head.clone(), turns, is_cut }))
}

/// Puts text of the same shape in the place of the person's and the model's.
pub fn mask_reply(reply: &mut Reply) {
    match reply {
        Reply::Listed(_, entries, _) => {
            for Entry { title, found, .. } in entries {
                *title = masked(title);
                *found = found.as_deref().map(masked);
            }
        }
        Reply::Loaded(conversation) => {
            let Conversation { head: Head { title, settings, .. }, turns, .. } =
                &mut **conversation;
            *title = masked(title);
            mask_settings(settings);
            for said in turns {
                for text in [&mut said.question, &mut said.answer, &mut said.reasoning] {
                    *text = masked(text);
                }
            }
        }
        Reply::Renamed(_, title) => *title = masked(title),
        // Its name is the title's.
        Reply::Exported(path) => *path = PathBuf::from(masked(&path.to_string_lossy())),
        Reply::Saved(_)
        | Reply::NotSaved(..)
        | Reply::Gone(_)
        | Reply::Deleted(_)
        | Reply::Failed(_) => {}
    }
}

/// As [`mask_reply`], of the settings of a conversation.
pub fn mask_settings(settings: &mut Settings) {
    settings.system = settings.system.as_deref().map(masked);
    for text in &mut settings.sampling.stop {
        *text = masked(text);
    }
}

/// A reply as this program would have told it: a file says what it likes.
pub fn clean_reply(mut reply: Reply) -> Reply {
    let clean = |text: &mut String| *text = one_line(text, MAX_TITLE_BYTES);
    match &mut reply {
        Reply::Listed(_, entries, _) => {
            for Entry { title, model, found, .. } in entries {
                clean(title);
                clean(model);
                found.iter_mut().for_each(clean);
            }
        }
        Reply::Loaded(conversation) => clean(&mut conversation.head.title),
        Reply::Renamed(_, title) => clean(title),
        _ => {}
    }
    reply
}

/// Bytes that a reply takes in memory, about.
pub fn reply_bytes(reply: &Reply) -> usize {
    match reply {
        Reply::Saved(turns) => turns.len() * ITEM_BYTES,
        Reply::Listed(_, entries, _) => entries
            .iter()
            .map(|it| ITEM_BYTES + it.title.len() + it.found.as_ref().map_or(0, String::len))
            .sum(),
        Reply::Loaded(conversation) => {
            let settings = conversation.head.settings.system.as_ref().map_or(0, String::len);
            let turns = conversation.turns.iter().map(|said| ITEM_BYTES * 8 + said.bytes());
            settings + turns.sum::<usize>()
        }
        Reply::Renamed(_, title) => title.len(),
        _ => ITEM_BYTES * 8,
    }
}

/// As [`mask_reply`], of what the person has beside the conversation.
pub fn mask_own(news: &mut Own) {
    match news {
        Own::Edited(Ok(text)) => *text = masked(text),
        Own::Attached(Ok(file)) => *file = file.map(masked),
        Own::Completed(typed, paths) => {
            *typed = masked(typed);
            for path in paths {
                *path = masked(path);
            }
        }
        Own::Edited(Err(_)) | Own::Attached(Err(_)) => {}
    }
}

/// As [`clean_reply`].
pub fn clean_own(news: Own) -> Own {
    match news {
        Own::Attached(Ok(file)) => Own::Attached(Ok(file.map(str::to_owned))),
        Own::Completed(typed, paths) => {
            let clean = |path: &String| one_line(path, MAX_TITLE_BYTES);
            Own::Completed(typed, paths.iter().map(clean).collect())
        }
        news => news,
    }
}

/// As [`reply_bytes`].
pub fn own_bytes(news: &Own) -> usize {
    match news {
        Own::Edited(Ok(text)) => text.len(),
        Own::Attached(Ok(file)) => Attachment::bytes(file),
        Own::Completed(typed, paths) => {
            typed.len() + paths.iter().map(|path| ITEM_BYTES + path.len()).sum::<usize>()
        }
        Own::Edited(Err(_)) | Own::Attached(Err(_)) => ITEM_BYTES * 8,
    }
}

/// As [`clean_reply`], of an operation.
pub fn clean_done(news: Done) -> Done {
    match news {
        Done::Lines(lines) => {
            let clean =
                |line: Line| Line { passes: line.passes, ..Line::new(&line.text, line.kind) };
            Done::Lines(lines.into_iter().map(clean).collect())
        }
        Done::Ended(outcome) => Done::Ended(outcome),
    }
}

/// As [`reply_bytes`].
pub fn done_bytes(news: &Done) -> usize {
    match news {
        Done::Lines(lines) => lines.iter().map(|line| ITEM_BYTES + line.text.len()).sum(),
        Done::Ended(_) => ITEM_BYTES * 8,
    }
}
