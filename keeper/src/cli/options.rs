//! Options that several commands share: which model, where, and how tokens are chosen.

use std::time::Duration;

use clap::value_parser;
use wire::sampling::{Sampling, SamplingFields};
use wire::{Code, Device, Fault, HiveName, ModelRef, limits, text};

use crate::context::Context;
use crate::conversations::Settings;
use crate::failure::Failure;
use crate::fleet::place::Want;
use crate::link::way::Way;
use crate::model;

/// Bytes of a path that are shown.
const MAX_PATH_BYTES: usize = 256;

/// Which model, and where.
#[derive(Debug, clap::Args)]
pub struct ModelArgs {
    /// Model to use: an alias, `hf:org/repo[:quant]`, `file:/path/on/the/hive.gguf`, `demo`, or
    /// the path of a GGUF file or of a directory of safetensors here. Without it:
    /// `default_model` of the configuration, else `demo`.
    #[arg(short, long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Only on this hive. This machine is `local`.
    #[arg(long, value_name = "NAME")]
    pub hive: Option<HiveName>,
    /// Only on this device: cpu, cuda:N, rocm:N or metal:N.
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<Device>,
    /// Tokens of context. Without it: the largest usual size that fits.
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true,
        value_parser = value_parser!(u32)
            .range(i64::from(limits::MIN_CTX_SIZE)..=i64::from(limits::MAX_CTX_SIZE)))]
    pub ctx_size: Option<u32>,
    /// How long the model stays loaded without requests: 30m, 1h, seconds, 0 (unload at once) or
    /// -1 (forever).
    #[arg(long, value_name = "TIME", allow_negative_numbers = true, value_parser = keep_alive)]
    pub keep_alive: Option<i64>,
}

/// How tokens are chosen. What is not given comes from `[run]` of the configuration.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// 0 always takes the most probable token; up to 2.
    #[arg(long, value_name = "0..2", allow_negative_numbers = true, value_parser = number)]
    pub temperature: Option<f64>,
    /// Only the K most probable tokens; 0 is all.
    #[arg(long, value_name = "K", allow_negative_numbers = true, value_parser = top_k)]
    pub top_k: Option<u32>,
    /// Only the tokens whose surprise is nearest to the expected one, with this probability in sum.
    #[arg(long, value_name = "0..1", allow_negative_numbers = true, value_parser = number)]
    pub typical_p: Option<f64>,
    /// Only the most probable tokens with this probability in sum.
    #[arg(long, value_name = "0..1", allow_negative_numbers = true, value_parser = number)]
    pub top_p: Option<f64>,
    /// Only tokens with this part of the most probable one's probability.
    #[arg(long, value_name = "0..1", allow_negative_numbers = true, value_parser = number)]
    pub min_p: Option<f64>,
    /// Make tokens of the last text less probable; 1 is off.
    #[arg(long, value_name = "0..2", allow_negative_numbers = true, value_parser = number)]
    pub repeat_penalty: Option<f64>,
    /// Subtracted from every token that occurred.
    #[arg(long, value_name = "-2..2", allow_negative_numbers = true, value_parser = number)]
    pub presence_penalty: Option<f64>,
    /// Subtracted for each time that a token occurred.
    #[arg(long, value_name = "-2..2", allow_negative_numbers = true, value_parser = number)]
    pub frequency_penalty: Option<f64>,
    /// Tokens of the last text that the three penalties look at; -1 is all, 0 none.
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true)]
    pub repeat_last_n: Option<i64>,
    /// Make a token more or less probable: -100 to 100 is added to its logit. May be repeated.
    #[arg(long, value_name = "ID=NUMBER", value_parser = logit_bias)]
    pub logit_bias: Vec<(u32, f64)>,
    /// The same seed gives the same text.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = seed)]
    pub seed: Option<u64>,
    /// Tokens to answer with at most.
    #[arg(short = 'n', long, value_name = "TOKENS", allow_negative_numbers = true,
        value_parser = tokens)]
    pub max_tokens: Option<u32>,
    /// Tokens before which neither the model nor a stop text ends the answer.
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true, value_parser = tokens)]
    pub min_tokens: Option<u32>,
    /// End the answer before this text. May be repeated.
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Go on when the model wants to end.
    #[arg(long)]
    pub ignore_eos: bool,
}

impl ModelArgs {
    /// The model and where it shall be; the configuration fills what was not said.
    ///
    /// # Errors
    /// Those of [`model::resolve`]; a usage error without any model where there are hives.
    pub fn want(&self, context: &Context) -> Result<Want, Failure> {
        Ok(Want {
            model: self.model(context)?,
            hive: self.hive.clone(),
            device: self.device,
            ctx_size: self.ctx_size.or(context.config.run.ctx_size),
        })
    }

    fn model(&self, context: &Context) -> Result<ModelRef, Failure> {
        let aliases = context.config.known_aliases();
        if let Some(text) = &self.model {
            let model = model::resolve(text, aliases)?;
            if model::is_of_this_machine(text) {
                self.refuse_elsewhere(text, context)?;
            }
            return Ok(model);
        }
        context.default_model()
    }

    /// A path is a file of this machine; on another one the same path would be another file.
    fn refuse_elsewhere(&self, path: &str, context: &Context) -> Result<(), Failure> {
        let hives = self.hive.clone().map_or_else(|| context.hives(), |hive| vec![hive]);
        let Some(other) = hives.iter().find(|hive| **hive != HiveName::local()) else {
            return Ok(());
        };
        let (shown, word) = (text::one_line(path, MAX_PATH_BYTES), text::shell_word(path));
        let message =
            format!("-m: {shown} is a file of this machine, the hive {other} has its own");
        let fault = Fault::new(Code::InvalidArgument, message)
            .cause("a file of the hive is named file:/path, as it is there")
            .hint(format!("rbee run --hive local -m {word} \"…\""));
        Err(fault.into())
    }

    /// The ways to the hives that may answer.
    ///
    /// # Errors
    /// `HIVE_NOT_FOUND`.
    pub fn ways(&self, context: &Context) -> Result<Vec<Way>, Failure> {
        Ok(context.ways(self.hive.as_ref())?)
    }

    /// Says which model answers when nobody chose one.
    pub fn explain_the_default(&self, context: &Context) {
        if self.model.is_none() && context.config.default_model.is_none() {
            context.note("no model was named: the small demo model answers (choose one with -m)");
        }
    }
}

impl SamplingArgs {
    /// What was said, and nothing else.
    pub fn given(&self) -> SamplingFields {
        SamplingFields {
            temperature: self.temperature,
            top_k: self.top_k,
            typical_p: self.typical_p,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            repeat_last_n: self.repeat_last_n,
            logit_bias: self.logit_bias.iter().copied().collect(),
            seed: self.seed,
            max_tokens: self.max_tokens,
            min_tokens: self.min_tokens,
            stop: self.stop.clone(),
            ignore_eos: self.ignore_eos,
            logprobs: None,
            top_logprobs: None,
        }
    }

    /// The checked fields; the configuration fills what was not said.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` with the parameter and its range.
    pub fn fields(&self, context: &Context) -> Result<SamplingFields, Failure> {
        let said = Settings { sampling: self.given(), ..Settings::default() };
        let fields = said.sampling_over(&context.config.run.sampling());
        Sampling::try_from(&fields).map_err(|error| {
            let flag = error.name.replace('_', "-");
            Failure::usage(format!("--{flag} {}", error.rule)).hint("rbee run --help")
        })?;
        Ok(fields)
    }
}

/// A time as people write it: `500ms`, `30s`, `5m`, `1h`, or a number of seconds.
///
/// # Errors
/// The accepted forms.
pub fn duration(text: &str) -> Result<Duration, &'static str> {
    const FORMS: &str = "a time is 500ms, 30s, 5m, 1h or a number of seconds, and more than 0";
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| FORMS)?;
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        _ => return Err(FORMS),
    };
    let time = Duration::from_millis(number.checked_mul(unit_ms).ok_or(FORMS)?);
    match time {
        Duration::ZERO => Err(FORMS),
        time if time > DAY => Err("a time is at most 24h"),
        time => Ok(time),
    }
}

fn logit_bias(text: &str) -> Result<(u32, f64), &'static str> {
    const FORM: &str = "a bias is the id of a token, =, and a number from -100 to 100";
    let (token, bias) = text.split_once('=').ok_or(FORM)?;
    let token = token.parse().map_err(|_| FORM)?;
    let bias = bias.parse().ok().filter(|bias| (-100.0..=100.0).contains(bias));
    Ok((token, bias.ok_or(FORM)?))
}

fn number(text: &str) -> Result<f64, &'static str> {
    text.parse().map_err(|_| "a number, such as 0.7")
}

fn top_k(text: &str) -> Result<u32, &'static str> {
    text.parse().map_err(|_| "a number of tokens, or 0 for all")
}

fn seed(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_| "a whole number, not negative")
}

fn tokens(text: &str) -> Result<u32, &'static str> {
    const RULE: &str = "a number of tokens, at least 1; without it the model ends by itself";
    text.parse().ok().filter(|&count| count > 0).ok_or(RULE)
}

fn keep_alive(text: &str) -> Result<i64, &'static str> {
    const FORMS: &str = "a time is 30m, 1h, a number of seconds, 0 (unload at once) or -1 (never)";
    match text {
        "-1" => Ok(-1),
        "0" => Ok(0),
        _ => {
            let time = duration(text).map_err(|_| FORMS)?;
            // A fraction of a second is not nothing.
            let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
            i64::try_from(seconds).map_err(|_| FORMS)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let ms = |text| duration(text).map(|time| time.as_millis());
        assert_eq!(ms("500ms"), Ok(500));
        assert_eq!(ms("30"), Ok(30_000));
        assert_eq!(ms("30s"), Ok(30_000));
        assert_eq!(ms("5m"), Ok(300_000));
        assert_eq!(ms("1h"), Ok(3_600_000));
        for text in ["", "soon", "0", "0s", "-1", "1.5s", "1d", "s", "99999999999999999999", "25h"]
        {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_bias_is_a_token_and_a_number() {
        assert_eq!(logit_bias("15043=-1.5"), Ok((15_043, -1.5)));
        for text in ["", "7", "7=", "=1", "x=1", "7=x", "7=101", "7=NaN", "-1=1", "7=1=1"] {
            assert!(logit_bias(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_model_may_stay_for_a_while_forever_or_not_at_all() {
        assert_eq!(keep_alive("-1"), Ok(-1));
        assert_eq!(keep_alive("0"), Ok(0));
        assert_eq!(keep_alive("30m"), Ok(1800));
        assert_eq!(keep_alive("1ms"), Ok(1));
        assert!(keep_alive("-2").is_err() && keep_alive("x").is_err());
    }
}
