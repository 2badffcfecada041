//! How the next token is chosen: the request's fields, and their checked form.

use serde::{Deserialize, Serialize};

use crate::limits;

/// The fields of a request, as they came. Names are OpenAI's where it has one, else llama.cpp's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SamplingFields {
    /// 0 takes the most probable token; up to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Only the `top_k` most probable tokens; 0 is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Only the smallest set of tokens with this probability in sum (Holtzman et al. 2020).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Only tokens with this part of the most probable one's probability (Nguyen et al. 2024).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f64>,
    /// Divides the logits of recent tokens (Keskar et al. 2019); 1 is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat_penalty: Option<f64>,
    /// Subtracted from the logits of tokens that occurred; -2 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    /// Subtracted for each time a token occurred; -2 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    /// Same seed, build and device: same text. Absent: a random one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Tokens to generate at most; absent: as many as the context has room for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Texts that end the answer; they are not part of it.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub stop: Vec<String>,
    /// Whether the model's own end of text is passed over.
    #[serde(skip_serializing_if = "is_false")]
    pub ignore_eos: bool,
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
    pub top_p: f64,
    /// 0 to 1; 0 is off.
    pub min_p: f64,
    /// 0 to 2; 1 is off.
    pub repeat_penalty: f64,
    /// -2 to 2; 0 is off.
    pub presence_penalty: f64,
    /// -2 to 2; 0 is off.
    pub frequency_penalty: f64,
    /// Absent: a random one.
    pub seed: Option<u64>,
    /// Absent: as many as the context has room for.
    pub max_tokens: Option<u32>,
    /// At most [`limits::MAX_STOPS`], none empty.
    pub stop: Vec<String>,
    /// Whether the model's own end of text is passed over.
    pub ignore_eos: bool,
}

impl Default for Sampling {
    /// llama.cpp's chain and defaults, except that its repeat penalty of 1.0 is off there too.
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repeat_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: None,
            max_tokens: None,
            stop: Vec::new(),
            ignore_eos: false,
        }
    }
}

fn ranged(
    value: Option<f64>,
    default: f64,
    range: std::ops::RangeInclusive<f64>,
    error: (&'static str, &'static str),
) -> Result<f64, InvalidParameter> {
    let value = value.unwrap_or(default);
    // A NaN is in no range.
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(InvalidParameter { name: error.0, rule: error.1 })
    }
}

impl TryFrom<&SamplingFields> for Sampling {
    type Error = InvalidParameter;

    fn try_from(fields: &SamplingFields) -> Result<Self, InvalidParameter> {
        let default = Self::default();
        let invalid = |name, rule| Err(InvalidParameter { name, rule });
        if fields.stop.len() > limits::MAX_STOPS {
            return invalid("stop", "has at most 16 texts");
        }
        if fields.stop.iter().any(|text| text.is_empty() || text.len() > limits::MAX_STOP_BYTES) {
            return invalid("stop", "has texts of 1 to 256 bytes");
        }
        if fields.max_tokens == Some(0) {
            return invalid("max_tokens", "is at least 1");
        }
        Ok(Self {
            temperature: ranged(
                fields.temperature,
                default.temperature,
                0.0..=2.0,
                ("temperature", "is a number from 0 to 2"),
            )?,
            top_k: fields.top_k.map_or(default.top_k, |k| usize::try_from(k).unwrap_or(usize::MAX)),
            top_p: ranged(
                fields.top_p,
                default.top_p,
                0.0..=1.0,
                ("top_p", "is a number from 0 to 1"),
            )?,
            min_p: ranged(
                fields.min_p,
                default.min_p,
                0.0..=1.0,
                ("min_p", "is a number from 0 to 1"),
            )?,
            repeat_penalty: ranged(
                fields.repeat_penalty,
                default.repeat_penalty,
                0.0..=2.0,
                ("repeat_penalty", "is a number from 0 to 2"),
            )?,
            presence_penalty: ranged(
                fields.presence_penalty,
                default.presence_penalty,
                -2.0..=2.0,
                ("presence_penalty", "is a number from -2 to 2"),
            )?,
            frequency_penalty: ranged(
                fields.frequency_penalty,
                default.frequency_penalty,
                -2.0..=2.0,
                ("frequency_penalty", "is a number from -2 to 2"),
            )?,
            seed: fields.seed,
            max_tokens: fields.max_tokens,
            stop: fields.stop.clone(),
            ignore_eos: fields.ignore_eos,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn absent_fields_mean_the_documented_defaults() {
        assert_eq!(Sampling::try_from(&SamplingFields::default()).unwrap(), Sampling::default());
    }

    #[test]
    fn stop_is_a_text_a_list_or_null() {
        let stop = |json| serde_json::from_str::<SamplingFields>(json).unwrap().stop;
        assert_eq!(stop(r#"{"stop":"a"}"#), ["a"]);
        assert_eq!(stop(r#"{"stop":["a","b"]}"#), ["a", "b"]);
        assert!(stop(r#"{"stop":null}"#).is_empty());
    }

    #[test]
    fn each_bound_is_refused_by_name() {
        let cases: [(SamplingFields, &str); 7] = [
            (SamplingFields { temperature: Some(2.1), ..Default::default() }, "temperature"),
            (SamplingFields { temperature: Some(f64::NAN), ..Default::default() }, "temperature"),
            (SamplingFields { top_p: Some(-0.1), ..Default::default() }, "top_p"),
            (SamplingFields { min_p: Some(1.5), ..Default::default() }, "min_p"),
            (SamplingFields { repeat_penalty: Some(2.5), ..Default::default() }, "repeat_penalty"),
            (SamplingFields { max_tokens: Some(0), ..Default::default() }, "max_tokens"),
            (SamplingFields { stop: vec![String::new()], ..Default::default() }, "stop"),
        ];
        for (fields, name) in cases {
            assert_eq!(Sampling::try_from(&fields).unwrap_err().name, name);
        }
        let many = SamplingFields { stop: vec!["x".into(); 17], ..Default::default() };
        assert!(Sampling::try_from(&many).is_err());
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_finite_and_in_range(
            t in any::<f64>(), p in any::<f64>(), m in any::<f64>(), r in -3.0f64..3.0,
        ) {
            let fields = SamplingFields {
                temperature: Some(t), top_p: Some(p), min_p: Some(m), repeat_penalty: Some(r),
                ..Default::default()
            };
            if let Ok(s) = Sampling::try_from(&fields) {
                prop_assert!((0.0..=2.0).contains(&s.temperature));
                prop_assert!((0.0..=1.0).contains(&s.top_p));
                prop_assert!((0.0..=1.0).contains(&s.min_p));
                prop_assert!((0.0..=2.0).contains(&s.repeat_penalty));
            }
        }
    }
}
