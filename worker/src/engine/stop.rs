//! Stop texts across token borders: holds back only what may still become one.

/// Watches an answer for texts that end it.
#[derive(Debug)]
pub(super) struct StopMatcher {
    stops: Vec<String>,
    held: String,
}

/// What a piece of the answer released.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Released {
    /// Text that can no longer be part of a stop text.
    pub text: String,
    /// Whether a stop text is complete; nothing after it counts.
    pub stopped: bool,
}

impl StopMatcher {
    /// A matcher of `stops`, none of them empty.
    pub(super) fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new() }
    }

    /// Appends `text` to the answer.
    pub(super) fn push(&mut self, text: &str) -> Released {
        self.held.push_str(text);
        let first = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = first {
            self.held.truncate(at);
            return Released { text: std::mem::take(&mut self.held), stopped: true };
        }
        let kept = self.held.split_off(self.held.len() - self.pending());
        Released { text: std::mem::replace(&mut self.held, kept), stopped: false }
    }

    /// What was held back, when the answer has ended otherwise.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Bytes of the longest end of the held text that begins a stop text.
    fn pending(&self) -> usize {
        let begins_a_stop = |tail: &str| self.stops.iter().any(|stop| stop.starts_with(tail));
        self.held
            .char_indices()
            .map(|(at, _)| self.held.get(at..).unwrap_or_default())
            .find(|tail| begins_a_stop(tail))
            .map_or(0, str::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn feed(stops: &[&str], parts: &[&str]) -> (String, bool) {
        let mut matcher = StopMatcher::new(stops.iter().map(|s| (*s).to_owned()).collect());
        let mut answer = String::new();
        for part in parts {
            let released = matcher.push(part);
            answer.push_str(&released.text);
            if released.stopped {
                return (answer, true);
            }
        }
        answer.push_str(&matcher.finish());
        (answer, false)
    }

    #[test]
    fn a_stop_text_is_found_wherever_tokens_cut_it() {
        let text = "a fine answer END and more";
        for cut in 0..=text.len() {
            for second in cut..=text.len() {
                let parts = [&text[..cut], &text[cut..second], &text[second..]];
                assert_eq!(feed(&["END"], &parts), ("a fine answer ".to_owned(), true));
            }
        }
    }

    #[test]
    fn the_first_of_several_stops_wins() {
        assert_eq!(feed(&["three", "two"], &["one two three"]), ("one ".to_owned(), true));
    }

    #[test]
    fn only_a_possible_beginning_is_held_back() {
        let mut matcher = StopMatcher::new(vec!["STOP".to_owned()]);
        assert_eq!(matcher.push("text ST").text, "text ");
        assert_eq!(matcher.push("ART").text, "START");
        assert_eq!(matcher.push("…S").text, "…");
        assert_eq!(matcher.finish(), "S");
    }

    proptest! {
        #[test]
        fn any_cut_gives_what_the_whole_text_gives(
            parts in prop::collection::vec("[abé]{0,4}", 0..8),
            stops in prop::collection::vec("[abé]{1,4}", 0..4),
        ) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let cut: Vec<&str> = parts.iter().map(String::as_str).collect();
            let whole = parts.concat();
            prop_assert_eq!(feed(&stops, &cut).1, stops.iter().any(|stop| whole.contains(stop)));
            let (answer, stopped) = feed(&stops, &cut);
            prop_assert!(whole.starts_with(&answer));
            if !stopped {
                prop_assert_eq!(answer, whole);
            }
        }
    }
}
