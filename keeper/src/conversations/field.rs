//! The settings of a conversation one by one: their names, and how they are read and written.

use wire::sampling::Sampling;

use super::Settings;

/// One of the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Instructions for all answers.
    System,
    /// How much chance there is.
    Temperature,
    /// The most probable tokens with this probability in sum.
    TopP,
    /// Tokens with this part of the most probable one's probability.
    MinP,
    /// So many of the most probable tokens.
    TopK,
    /// Tokens to answer with at most.
    MaxTokens,
    /// What makes the same text of the same prompt.
    Seed,
    /// Tokens of context.
    Context,
}

/// A setting that is not taken: which, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {rule}", field.name())]
pub struct Refused {
    /// Which one.
    pub field: Field,
    /// What it must be.
    pub rule: &'static str,
}

impl Field {
    /// All of them, in the order of a form.
    pub const ALL: [Self; 8] = [
        Self::System,
        Self::Temperature,
        Self::TopP,
        Self::MinP,
        Self::TopK,
        Self::MaxTokens,
        Self::Seed,
        Self::Context,
    ];

    /// Its name for a person.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system prompt",
            Self::Temperature => "temperature",
            Self::TopP => "top-p",
            Self::MinP => "min-p",
            Self::TopK => "top-k",
            Self::MaxTokens => "max tokens",
            Self::Seed => "seed",
            Self::Context => "context",
        }
    }

    /// What it may be.
    pub fn range(self) -> &'static str {
        match self {
            Self::System => "instructions for all answers",
            Self::Temperature => "0 to 2",
            Self::TopP | Self::MinP => "0 to 1",
            Self::TopK => "tokens; 0 is all",
            Self::MaxTokens => "tokens of an answer",
            Self::Seed => "a whole number",
            Self::Context => "64 to 16777216 tokens",
        }
    }

    fn rule(self) -> &'static str {
        match self {
            Self::System => "has at most 65536 bytes",
            Self::Temperature => "is a number from 0 to 2",
            Self::TopP | Self::MinP => "is a number from 0 to 1",
            Self::TopK => "is a number of tokens, or 0 for all",
            Self::MaxTokens => "is a number of tokens, at least 1",
            Self::Seed => "is a whole number, not negative",
            Self::Context => "is a number of tokens from 64 to 16777216",
        }
    }

    /// The value as a person writes it; empty: the default.
    pub fn text(self, of: &Settings) -> String {
        fn shown<T: ToString>(value: Option<&T>) -> String {
            value.map(ToString::to_string).unwrap_or_default()
        }
        let sampling = &of.sampling;
        match self {
            Self::System => shown(of.system.as_ref()),
            Self::Temperature => shown(sampling.temperature.as_ref()),
            Self::TopP => shown(sampling.top_p.as_ref()),
            Self::MinP => shown(sampling.min_p.as_ref()),
            Self::TopK => shown(sampling.top_k.as_ref()),
            Self::MaxTokens => shown(sampling.max_tokens.as_ref()),
            Self::Seed => shown(sampling.seed.as_ref()),
            Self::Context => shown(of.ctx_size.as_ref()),
        }
    }

    /// What holds while nothing is written: as the configuration says, else the worker's own.
    pub fn default_text(self, configured: &Settings) -> String {
        let text = self.text(configured);
        if !text.is_empty() {
            return text;
        }
        let own = Sampling::default();
        match self {
            Self::System => "none".to_owned(),
            Self::Temperature => own.temperature.to_string(),
            Self::TopP => own.top_p.to_string(),
            Self::MinP => own.min_p.to_string(),
            Self::TopK => own.top_k.to_string(),
            Self::MaxTokens => "until the model ends".to_owned(),
            Self::Seed => "another one each time".to_owned(),
            Self::Context => "the largest usual size that fits".to_owned(),
        }
    }

    /// Sets it to what a person wrote; nothing is the default.
    ///
    /// # Errors
    /// What it must be; then nothing is changed.
    pub fn set(self, settings: &mut Settings, text: &str) -> Result<(), Refused> {
        let mut changed = settings.clone();
        let is_read = self.read(&mut changed, text.trim());
        if !is_read || changed.check().is_err() {
            return Err(Refused { field: self, rule: self.rule() });
        }
        *settings = changed;
        Ok(())
    }

    /// Whether the text is one of its values.
    fn read(self, settings: &mut Settings, text: &str) -> bool {
        fn value<T: std::str::FromStr>(text: &str, into: &mut Option<T>) -> bool {
            *into = text.parse().ok();
            into.is_some() || text.is_empty()
        }
        let sampling = &mut settings.sampling;
        match self {
            Self::System => {
                settings.system = (!text.is_empty()).then(|| text.to_owned());
                true
            }
            Self::Temperature => value(text, &mut sampling.temperature),
            Self::TopP => value(text, &mut sampling.top_p),
            Self::MinP => value(text, &mut sampling.min_p),
            Self::TopK => value(text, &mut sampling.top_k),
            Self::MaxTokens => value(text, &mut sampling.max_tokens),
            Self::Seed => value(text, &mut sampling.seed),
            Self::Context => value(text, &mut settings.ctx_size),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_nothing_is_the_default() {
        let mut settings = Settings::default();
        let values = ["be brief", "0.25", "0.5", "0.1", "7", "99", "42", "4096"];
        for (field, value) in Field::ALL.into_iter().zip(values) {
            field.set(&mut settings, value).unwrap();
            assert_eq!(field.text(&settings), value);
            assert_eq!(field.default_text(&settings), value);
        }
        for field in Field::ALL {
            field.set(&mut settings, " ").unwrap();
            assert!(!field.default_text(&settings).is_empty());
        }
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn what_the_command_line_refuses_is_refused_with_the_rule() {
        let mut settings = Settings::default();
        for (field, value) in [
            (Field::Temperature, "2.1"),
            (Field::Temperature, "NaN"),
            (Field::Temperature, "warm"),
            (Field::TopP, "-0.1"),
            (Field::MinP, "1.5"),
            (Field::TopK, "-1"),
            (Field::MaxTokens, "0"),
            (Field::Seed, "1.5"),
            (Field::Context, "63"),
            (Field::Context, "16777217"),
        ] {
            let refused = field.set(&mut settings, value).unwrap_err();
            assert!(refused.to_string().starts_with(field.name()), "{refused}");
        }
        assert_eq!(settings, Settings::default());
    }
}
