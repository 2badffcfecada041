//! How the next token is chosen: the request's fields, and their checked form.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::limits;

/// The fields of a request, as they came. Names are OpenAI's where it has one, else llama.cpp's or
/// vLLM's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SamplingFields {
    /// 0 takes the most probable token; up to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Only the `top_k` most probable tokens; 0 is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Only the tokens whose surprise is nearest to the expected one, up to this probability in sum
    /// (Meister et al. 2023).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub typical_p: Option<f64>,
    /// Only the smallest set of tokens with this probability in sum (Holtzman et al. 2020).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Only tokens with this part of the most probable one's probability (Nguyen et al. 2024).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f64>,
    /// Divides the logits of recent tokens (Keskar et al. 2019); 1 is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat_penalty: Option<f64>,
    /// Subtracted from the logits of recent tokens; -2 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    /// Subtracted for each time that a recent token occurred; -2 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    /// Tokens, of prompt and answer, that the three penalties look back on; -1 is all, 0 none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat_last_n: Option<i64>,
    /// Added to the logits of tokens, by their ids; -100 to 100.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "biases")]
    pub logit_bias: BTreeMap<u32, f64>,
    /// Same seed, build and device: same text. Absent: a random one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Tokens to generate at most; absent: as many as the context has room for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Tokens before which neither the model nor a stop text ends the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_tokens: Option<u32>,
    /// Texts that end the answer; they are not part of it.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub stop: Vec<String>,
    /// Whether the model's own end of text is passed over.
    #[serde(skip_serializing_if = "is_false")]
    pub ignore_eos: bool,
    /// Whether each token comes with its probability.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Logprobs>,
    /// Most probable tokens that are told beside each, with `logprobs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<u32>,
}

/// OpenAI's two forms of `logprobs`: a chat says whether, a completion says how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Logprobs {
    /// Whether there are any.
    Wanted(bool),
    /// As `top_logprobs`.
    Top(u32),
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}

/// OpenAI's `stop` is a string or an array of strings, or null.
fn one_or_many<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        None(()),
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(from)? {
        OneOrMany::None(()) => Vec::new(),
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    })
}

/// OpenAI's `logit_bias` has ids as texts, as JSON wants; null is none.
fn biases<'de, D: serde::Deserializer<'de>>(from: D) -> Result<BTreeMap<u32, f64>, D::Error> {
    let by_text = Option::<BTreeMap<String, f64>>::deserialize(from)?.unwrap_or_default();
    let by_id = |(token, bias): (String, f64)| Some((token.parse().ok()?, bias));
    let by_id: Option<_> = by_text.into_iter().map(by_id).collect();
    by_id.ok_or_else(|| serde::de::Error::custom("logit_bias has the ids of tokens as keys"))
}

/// A parameter outside its range; the message names it and the range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} {rule}")]
pub struct InvalidParameter {
    /// The field's name.
    pub name: &'static str,
    /// The rule that it breaks.
    pub rule: &'static str,
}

/// Checked parameters: every number is finite and in its range.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 is greedy; at most 2.
    pub temperature: f64,
    /// 0 is all.
    pub top_k: usize,
    /// 0 to 1; 1 is off.
    pub typical_p: f64,
    /// 0 to 1; 1 is off.
    pub top_p: f64,
    /// 0 to 1; 0 is off.
    pub min_p: f64,
    /// 0 to 2; 1 is off.
    pub repeat_penalty: f64,
    /// -2 to 2; 0 is off.
    pub presence_penalty: f64,
    /// -2 to 2; 0 is off.
    pub frequency_penalty: f64,
    /// Tokens that the penalties look back on; absent: all.
    pub repeat_last_n: Option<usize>,
    /// Token ids and what is added to their logits; at most [`limits::MAX_LOGIT_BIASES`].
    pub logit_bias: Vec<(u32, f64)>,
    /// Absent: a random one.
    pub seed: Option<u64>,
    /// Absent: as many as the context has room for.
    pub max_tokens: Option<u32>,
    /// At most `max_tokens`; 0 is off.
    pub min_tokens: u32,
    /// At most [`limits::MAX_STOPS`], none empty.
    pub stop: Vec<String>,
    /// Whether the model's own end of text is passed over.
    pub ignore_eos: bool,
    /// How many of the most probable tokens are told beside each token and its own probability; at
    /// most [`limits::MAX_TOP_LOGPROBS`]. Absent: nothing is told.
    pub top_logprobs: Option<usize>,
}

impl Default for Sampling {
    /// llama.cpp's chain and defaults, except that its repeat penalty of 1.0 is off there too.
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            typical_p: 1.0,
            top_p: 0.95,
            min_p: 0.05,
            repeat_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repeat_last_n: Some(64),
            logit_bias: Vec::new(),
            seed: None,
            max_tokens: None,
            min_tokens: 0,
            stop: Vec::new(),
            ignore_eos: false,
            top_logprobs: None,
        }
    }
}

fn invalid(name: &'static str, rule: &'static str) -> InvalidParameter {
    InvalidParameter { name, rule }
}

/// A number from 0 to 1.
fn part(value: Option<f64>, default: f64, name: &'static str) -> Result<f64, InvalidParameter> {
    within(value, default, 0.0..=1.0).ok_or(invalid(name, "is a number from 0 to 1"))
}

/// A number from 0 to 2.
fn factor(value: Option<f64>, default: f64, name: &'static str) -> Result<f64, InvalidParameter> {
    within(value, default, 0.0..=2.0).ok_or(invalid(name, "is a number from 0 to 2"))
}

/// A number from -2 to 2.
fn penalty(value: Option<f64>, default: f64, name: &'static str) -> Result<f64, InvalidParameter> {
    within(value, default, -2.0..=2.0).ok_or(invalid(name, "is a number from -2 to 2"))
}

/// The value or its default, if it lies within; a NaN lies nowhere.
fn within(value: Option<f64>, default: f64, range: std::ops::RangeInclusive<f64>) -> Option<f64> {
    Some(value.unwrap_or(default)).filter(|value| range.contains(value))
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl SamplingFields {
    fn checked_stop(&self) -> Result<Vec<String>, InvalidParameter> {
        if self.stop.len() > limits::MAX_STOPS {
            return Err(invalid("stop", "has at most 16 texts"));
        }
        if self.stop.iter().any(|text| text.is_empty() || text.len() > limits::MAX_STOP_BYTES) {
            return Err(invalid("stop", "has texts of 1 to 256 bytes"));
        }
        Ok(self.stop.clone())
    }

    fn checked_bias(&self) -> Result<Vec<(u32, f64)>, InvalidParameter> {
        if self.logit_bias.len() > limits::MAX_LOGIT_BIASES {
            return Err(invalid("logit_bias", "has at most 1024 tokens"));
        }
        if !self.logit_bias.values().all(|bias| (-100.0..=100.0).contains(bias)) {
            return Err(invalid("logit_bias", "has numbers from -100 to 100"));
        }
        Ok(self.logit_bias.iter().map(|(token, bias)| (*token, *bias)).collect())
    }

    /// The least and the most tokens of the answer.
    fn checked_length(&self) -> Result<(u32, Option<u32>), InvalidParameter> {
        let (least, most) = (self.min_tokens.unwrap_or(0), self.max_tokens);
        if most == Some(0) {
            return Err(invalid("max_tokens", "is at least 1"));
        }
        if least > most.unwrap_or(limits::MAX_CTX_SIZE) {
            return Err(invalid("min_tokens", "is at most max_tokens, and a context's size"));
        }
        Ok((least, most))
    }

    fn checked_window(&self, default: Option<usize>) -> Result<Option<usize>, InvalidParameter> {
        match self.repeat_last_n {
            None => Ok(default),
            Some(-1) => Ok(None),
            Some(tokens) => match u32::try_from(tokens) {
                Ok(tokens) if tokens <= limits::MAX_CTX_SIZE => Ok(Some(size(tokens))),
                _ => Err(invalid("repeat_last_n", "is a number of tokens, or -1 for all")),
            },
        }
    }

    fn checked_logprobs(&self) -> Result<Option<usize>, InvalidParameter> {
        let top = match (self.logprobs, self.top_logprobs) {
            (None | Some(Logprobs::Wanted(false)), None) => return Ok(None),
            (None | Some(Logprobs::Wanted(false)), Some(_)) => {
                return Err(invalid("top_logprobs", "goes with logprobs"));
            }
            (Some(Logprobs::Top(top)), None) | (Some(_), Some(top)) => size(top),
            (Some(Logprobs::Wanted(true)), None) => 0,
        };
        if top > limits::MAX_TOP_LOGPROBS {
            return Err(invalid("top_logprobs", "is at most 20"));
        }
        Ok(Some(top))
    }
}

impl TryFrom<&SamplingFields> for Sampling {
    type Error = InvalidParameter;

    fn try_from(fields: &SamplingFields) -> Result<Self, InvalidParameter> {
        let default = Self::default();
        let (min_tokens, max_tokens) = fields.checked_length()?;
        Ok(Self {
            temperature: factor(fields.temperature, default.temperature, "temperature")?,
            top_k: fields.top_k.map_or(default.top_k, size),
            typical_p: part(fields.typical_p, default.typical_p, "typical_p")?,
            top_p: part(fields.top_p, default.top_p, "top_p")?,
            min_p: part(fields.min_p, default.min_p, "min_p")?,
            repeat_penalty: factor(
                fields.repeat_penalty,
                default.repeat_penalty,
                "repeat_penalty",
            )?,
            presence_penalty: penalty(
                fields.presence_penalty,
                default.presence_penalty,
                "presence_penalty",
            )?,
            frequency_penalty: penalty(
                fields.frequency_penalty,
                default.frequency_penalty,
                "frequency_penalty",
            )?,
            repeat_last_n: fields.checked_window(default.repeat_last_n)?,
            logit_bias: fields.checked_bias()?,
            seed: fields.seed,
            max_tokens,
            min_tokens,
            stop: fields.checked_stop()?,
            ignore_eos: fields.ignore_eos,
            top_logprobs: fields.checked_logprobs()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields(json: &str) -> SamplingFields {
        serde_json::from_str(json).unwrap()
    }

    fn refused(json: &str) -> &'static str {
        Sampling::try_from(&fields(json)).unwrap_err().name
    }

    #[test]
    fn absent_fields_mean_the_documented_defaults() {
        assert_eq!(Sampling::try_from(&SamplingFields::default()).unwrap(), Sampling::default());
    }

    #[test]
    fn stop_is_a_text_a_list_or_null() {
        assert_eq!(fields(r#"{"stop":"a"}"#).stop, ["a"]);
        assert_eq!(fields(r#"{"stop":["a","b"]}"#).stop, ["a", "b"]);
        assert!(fields(r#"{"stop":null}"#).stop.is_empty());
    }

    #[test]
    fn biases_are_by_id_also_inside_a_request() {
        let request = r#"{"prompt":"x","logit_bias":{"15043":-100,"7":1.5}}"#;
        let request: crate::generate::CompletionRequest = serde_json::from_str(request).unwrap();
        assert_eq!(request.sampling.logit_bias, BTreeMap::from([(7, 1.5), (15_043, -100.0)]));
        assert!(fields(r#"{"logit_bias":null}"#).logit_bias.is_empty());
        for key in ["x", "-1", "4294967296", "1.5", ""] {
            let json = format!(r#"{{"logit_bias":{{"{key}":1}}}}"#);
            assert!(serde_json::from_str::<SamplingFields>(&json).is_err(), "{key}");
        }
    }

    #[test]
    fn logprobs_are_asked_for_in_either_of_openais_forms() {
        let top = |json| Sampling::try_from(&fields(json)).unwrap().top_logprobs;
        assert_eq!(top(r#"{"logprobs":true,"top_logprobs":5}"#), Some(5));
        assert_eq!(top(r#"{"logprobs":true}"#), Some(0));
        assert_eq!(top(r#"{"logprobs":3}"#), Some(3));
        assert_eq!(top(r#"{"logprobs":false}"#), None);
        assert_eq!(top(r#"{"logprobs":null}"#), None);
        assert_eq!(refused(r#"{"top_logprobs":3}"#), "top_logprobs");
        assert_eq!(refused(r#"{"logprobs":21}"#), "top_logprobs");
    }

    #[test]
    fn the_penalties_window_is_a_number_or_everything() {
        let window = |json| Sampling::try_from(&fields(json)).unwrap().repeat_last_n;
        assert_eq!(window(r#"{"repeat_last_n":0}"#), Some(0));
        assert_eq!(window(r#"{"repeat_last_n":-1}"#), None);
        assert_eq!(refused(r#"{"repeat_last_n":-2}"#), "repeat_last_n");
        assert_eq!(refused(r#"{"repeat_last_n":99999999999}"#), "repeat_last_n");
    }

    #[test]
    fn each_bound_is_refused_by_name() {
        for (json, name) in [
            (r#"{"temperature":2.1}"#, "temperature"),
            (r#"{"typical_p":1.01}"#, "typical_p"),
            (r#"{"top_p":-0.1}"#, "top_p"),
            (r#"{"min_p":1.5}"#, "min_p"),
            (r#"{"repeat_penalty":2.5}"#, "repeat_penalty"),
            (r#"{"presence_penalty":-2.5}"#, "presence_penalty"),
            (r#"{"frequency_penalty":3}"#, "frequency_penalty"),
            (r#"{"logit_bias":{"1":100.5}}"#, "logit_bias"),
            (r#"{"max_tokens":0}"#, "max_tokens"),
            (r#"{"max_tokens":4,"min_tokens":5}"#, "min_tokens"),
            (r#"{"min_tokens":4294967295}"#, "min_tokens"),
            (r#"{"stop":""}"#, "stop"),
        ] {
            assert_eq!(refused(json), name);
        }
        let nan = SamplingFields { temperature: Some(f64::NAN), ..Default::default() };
        assert!(Sampling::try_from(&nan).is_err());
        let many = SamplingFields { stop: vec!["x".into(); 17], ..Default::default() };
        assert!(Sampling::try_from(&many).is_err());
        let logit_bias = (0..1025).map(|token| (token, 0.0)).collect();
        let many = SamplingFields { logit_bias, ..Default::default() };
        assert_eq!(Sampling::try_from(&many).unwrap_err().name, "logit_bias");
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_finite_and_in_range(
            t in any::<f64>(), y in any::<f64>(), p in any::<f64>(), m in any::<f64>(),
            r in -3.0f64..3.0, b in any::<f64>(), n in any::<i64>(),
        ) {
            let fields = SamplingFields {
                temperature: Some(t), typical_p: Some(y), top_p: Some(p), min_p: Some(m),
                repeat_penalty: Some(r), logit_bias: BTreeMap::from([(1, b)]),
                repeat_last_n: Some(n), ..Default::default()
            };
            if let Ok(s) = Sampling::try_from(&fields) {
                prop_assert!((0.0..=2.0).contains(&s.temperature));
                let parts = [s.typical_p, s.top_p, s.min_p];
                prop_assert!(parts.iter().all(|part| (0.0..=1.0).contains(part)));
                prop_assert!((0.0..=2.0).contains(&s.repeat_penalty));
                prop_assert!(s.logit_bias.iter().all(|(_, bias)| bias.abs() <= 100.0));
            }
        }
    }
}
