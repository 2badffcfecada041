//! The sampler against its definition: a plain reference over all probabilities, and known cases.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn open() -> Sampling {
    Sampling {
        temperature: 1.0,
        top_k: 0,
        typical_p: 1.0,
        top_p: 1.0,
        min_p: 0.0,
        seed: Some(7),
        ..Sampling::default()
    }
}

fn sampler(sampling: Sampling, history: &[u32]) -> Sampler {
    let mut sampler = Sampler::new(sampling, 1 << 20).unwrap();
    for token in history {
        sampler.observe(*token);
    }
    sampler
}

fn pick(sampler: &mut Sampler, logits: &[f32], banned: &[u32]) -> u32 {
    sampler.pick(&mut logits.to_vec(), banned).unwrap().token
}

fn draws(sampling: Sampling, logits: &[f32], count: usize) -> Vec<u32> {
    let mut sampler = sampler(sampling, &[]);
    (0..count).map(|_| pick(&mut sampler, logits, &[])).collect()
}

/// What the chain is defined as, step by step over whole distributions: token and probability.
/// Nothing of it is shared with the sampler.
fn reference(
    sampling: &Sampling,
    logits: &[f32],
    history: &[u32],
    banned: &[u32],
) -> BTreeMap<u32, f64> {
    let mut scores: BTreeMap<u32, f64> =
        (0u32..).zip(logits).map(|(token, logit)| (token, f64::from(*logit))).collect();
    for (token, bias) in &sampling.logit_bias {
        *scores.get_mut(token).unwrap() += bias;
    }
    let window = sampling.repeat_last_n.unwrap_or(usize::MAX).min(history.len());
    let recent = &history[history.len() - window..];
    for (token, score) in &mut scores {
        let count = recent.iter().filter(|other| *other == token).count();
        if count > 0 {
            let repeat = sampling.repeat_penalty.max(1e-6);
            *score = if *score > 0.0 { *score / repeat } else { *score * repeat };
            *score -= sampling.presence_penalty;
            *score -= f64::from(u32::try_from(count).unwrap()) * sampling.frequency_penalty;
        }
    }
    scores.retain(|token, score| !banned.contains(token) && *score > f64::NEG_INFINITY);

    let mut order: Vec<u32> = scores.keys().copied().collect();
    order.sort_by(|a, b| scores[b].total_cmp(&scores[a]));
    if sampling.top_k > 0 {
        order.truncate(sampling.top_k);
    }
    let softmax = |order: &[u32], temperature: f64| -> Vec<f64> {
        let most = order.iter().map(|token| scores[token]).fold(f64::MIN, f64::max);
        let all: Vec<f64> =
            order.iter().map(|token| ((scores[token] - most) / temperature).exp()).collect();
        let sum: f64 = all.iter().sum();
        all.into_iter().map(|weight| weight / sum).collect()
    };
    if sampling.typical_p < 1.0 {
        let parts = softmax(&order, 1.0);
        let entropy: f64 = parts.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
        let mut by_distance: Vec<usize> = (0..order.len()).collect();
        let distance = |at: usize| (-parts[at].ln() - entropy).abs();
        by_distance.sort_by(|a, b| distance(*a).total_cmp(&distance(*b)));
        let mut sum = 0.0;
        let mut kept = Vec::new();
        for at in by_distance {
            kept.push(at);
            sum += parts[at];
            if sum > sampling.typical_p {
                break;
            }
        }
        kept.sort_unstable();
        order = kept.into_iter().map(|at| order[at]).collect();
    }
    if sampling.top_p < 1.0 {
        let parts = softmax(&order, 1.0);
        let mut sum = 0.0;
        let reached = parts.iter().position(|part| {
            sum += part;
            sum >= sampling.top_p
        });
        order.truncate(reached.map_or(order.len(), |last| last + 1));
    }
    if sampling.min_p > 0.0 {
        let parts = softmax(&order, 1.0);
        let least = parts[0] * sampling.min_p;
        let kept = parts.iter().take_while(|part| **part >= least).count();
        order.truncate(kept.max(1));
    }
    let parts = softmax(&order, sampling.temperature);
    order.into_iter().zip(parts).collect()
}

/// The distribution that a sampler drew its last token from.
fn distribution(sampler: &Sampler) -> BTreeMap<u32, f64> {
    let weights = sampler.candidates.weights(sampler.sampling.temperature);
    let total: f64 = weights.iter().sum();
    let parts = weights.into_iter().map(|weight| weight / total);
    sampler.candidates.iter().map(|one| one.token).zip(parts).collect()
}

fn settings() -> impl Strategy<Value = Sampling> {
    let off_or = |p: std::ops::Range<f64>, off: f64| prop_oneof![Just(off), p];
    (
        (0.1f64..2.0, 0usize..60, off_or(0.01..0.99, 1.0), off_or(0.01..0.99, 1.0)),
        (off_or(0.001..0.5, 0.0), off_or(0.5..2.0, 1.0), off_or(-2.0..2.0, 0.0)),
        (off_or(-2.0..2.0, 0.0), prop::option::of(0usize..40)),
        prop::collection::btree_map(0u32..40, -100.0f64..100.0, 0..4),
        any::<u64>(),
    )
        .prop_map(|(shape, penalties, more, biases, seed)| Sampling {
            temperature: shape.0,
            top_k: shape.1,
            typical_p: shape.2,
            top_p: shape.3,
            min_p: penalties.0,
            repeat_penalty: penalties.1,
            presence_penalty: penalties.2,
            frequency_penalty: more.0,
            repeat_last_n: more.1,
            logit_bias: biases.into_iter().collect(),
            seed: Some(seed),
            ..Sampling::default()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_chain_leaves_what_its_definition_leaves(
        sampling in settings(),
        logits in prop::collection::vec(-12f32..12.0, 40..80),
        history in prop::collection::vec(0u32..40, 0..60),
        banned in prop::collection::vec(0u32..40, 0..3),
    ) {
        let expected = reference(&sampling, &logits, &history, &banned);
        let mut sampler = sampler(sampling, &history);
        let token = pick(&mut sampler, &logits, &banned);
        let found = distribution(&sampler);
        prop_assert!(expected.contains_key(&token));
        prop_assert_eq!(
            found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>()
        );
        for (token, part) in &expected {
            // Logits are f32 after penalties.
            let found = found[token];
            prop_assert!((found - part).abs() < 1e-4, "{}: {} {}", token, found, part);
        }
    }

    #[test]
    fn any_setting_picks_a_possible_token(
        logits in prop::collection::vec(-1e30f32..1e30, 1..50),
        sampling in settings(), greedy: bool,
        history in prop::collection::vec(0u32..60, 0..80),
    ) {
        let temperature = if greedy { 0.0 } else { sampling.temperature };
        let mut sampler = sampler(Sampling { temperature, ..sampling }, &history);
        let picked = sampler.pick(&mut logits.clone(), &[0]);
        if logits.len() == 1 {
            prop_assert!(picked.is_err());
        } else {
            let token = usize::try_from(picked.unwrap().token).unwrap();
            prop_assert!(token > 0 && token < logits.len());
        }
    }

    #[test]
    fn the_best_k_are_those_of_a_full_sort(
        logits in prop::collection::vec((0i8..30).prop_map(f32::from), 1..3000), k in 1usize..700,
    ) {
        let mut sorted: Vec<(u32, f32)> = (0u32..).zip(logits.iter().copied()).collect();
        sorted.sort_by(|a, b| b.1.total_cmp(&a.1));
        sorted.truncate(k);
        let mut candidates = Candidates::default();
        candidates.collect(&logits, k);
        let found: Vec<_> = candidates.iter().map(|one| (one.token, one.logit)).collect();
        prop_assert_eq!(found, sorted);
    }
}

#[test]
fn draws_follow_the_distribution_of_the_reference() {
    let logits: Vec<f32> = (0u8..30).map(|n| f32::from(n % 11) / 2.0).collect();
    for (number, sampling) in [
        open(),
        Sampling { temperature: 0.7, top_k: 12, ..open() },
        Sampling { temperature: 1.5, typical_p: 0.6, ..open() },
        Sampling { top_p: 0.8, min_p: 0.1, ..open() },
        Sampling { logit_bias: vec![(3, 2.5), (10, -100.0)], top_p: 0.9, ..open() },
        Sampling::default(),
    ]
    .into_iter()
    .enumerate()
    {
        let sampling = Sampling { seed: Some(41), ..sampling };
        let expected = reference(&sampling, &logits, &[], &[]);
        let count = 40_000u32;
        let drawn = draws(sampling, &logits, usize::try_from(count).unwrap());
        let mut chi_square = 0.0;
        for (token, part) in &expected {
            let seen = u32::try_from(drawn.iter().filter(|t| *t == token).count()).unwrap();
            let wanted = part * f64::from(count);
            chi_square += (f64::from(seen) - wanted).powi(2) / wanted;
        }
        assert!(drawn.iter().all(|token| expected.contains_key(token)), "setting {number}");
        // The 99.9 % quantile for 29 degrees of freedom; the seed is fixed.
        assert!(chi_square < 58.3, "setting {number}: {chi_square}");
    }
}

#[test]
fn temperature_zero_takes_the_best_and_the_first_of_equals() {
    let greedy = Sampling { temperature: 0.0, ..open() };
    assert_eq!(draws(greedy.clone(), &[0.0, 3.0, -1.0, 3.0], 5), [1; 5]);
    assert_eq!(pick(&mut sampler(greedy.clone(), &[]), &[0.0, 3.0, 2.0], &[1]), 2);
    assert_eq!(pick(&mut sampler(greedy, &[]), &[f32::NEG_INFINITY, -0.0, 0.0], &[]), 1);
}

#[test]
fn the_same_seed_draws_the_same_tokens_and_another_does_not() {
    let logits: Vec<f32> = (0u8..50).map(|n| f32::from(n % 7)).collect();
    let first = draws(open(), &logits, 64);
    assert_eq!(first, draws(open(), &logits, 64));
    assert_ne!(first, draws(Sampling { seed: Some(8), ..open() }, &logits, 64));
}

#[test]
fn each_filter_keeps_what_its_definition_says() {
    let logits = [0.5f32.ln(), 0.25f32.ln(), 0.15f32.ln(), 0.1f32.ln()];
    let seen = |sampling| {
        let mut tokens = draws(sampling, &logits, 2_000);
        tokens.sort_unstable();
        tokens.dedup();
        tokens
    };
    assert_eq!(seen(Sampling { top_k: 2, ..open() }), [0, 1]);
    assert_eq!(seen(Sampling { top_k: 99, ..open() }), [0, 1, 2, 3]);
    assert_eq!(seen(Sampling { top_p: 0.0, ..open() }), [0]);
    assert_eq!(seen(Sampling { top_p: 0.6, ..open() }), [0, 1]);
    assert_eq!(seen(Sampling { min_p: 0.29, ..open() }), [0, 1, 2]);
    assert_eq!(seen(Sampling { min_p: 1.0, ..open() }), [0]);
    // The entropy is 1.208 nats; the surprises are 0.693, 1.386, 1.897 and 2.303.
    assert_eq!(seen(Sampling { typical_p: 0.2, ..open() }), [1]);
    assert_eq!(seen(Sampling { typical_p: 0.2, temperature: 0.0, ..open() }), [1]);
    assert_eq!(seen(Sampling { typical_p: 0.3, temperature: 0.0, ..open() }), [0]);
    assert_eq!(seen(Sampling { typical_p: 0.3, ..open() }), [0, 1]);
    assert_eq!(seen(Sampling { typical_p: 0.8, ..open() }), [0, 1, 2]);
}

#[test]
fn penalties_lower_recent_tokens_and_forget_old_ones() {
    let greedy = Sampling { temperature: 0.0, ..open() };
    let pick = |sampling: Sampling, history: &[u32]| {
        pick(&mut sampler(sampling, history), &[2.0, 1.5, -9.0], &[])
    };
    assert_eq!(pick(greedy.clone(), &[0]), 0);
    assert_eq!(pick(Sampling { repeat_penalty: 1.5, ..greedy.clone() }, &[0]), 1);
    assert_eq!(pick(Sampling { presence_penalty: 0.6, ..greedy.clone() }, &[0]), 1);
    assert_eq!(pick(Sampling { frequency_penalty: 0.3, ..greedy.clone() }, &[0]), 0);
    assert_eq!(pick(Sampling { frequency_penalty: 0.3, ..greedy.clone() }, &[0, 0]), 1);
    let mut long = vec![0];
    long.extend([2; 64]);
    let present = Sampling { presence_penalty: 0.6, ..greedy.clone() };
    assert_eq!(pick(present.clone(), &long), 0);
    assert_eq!(pick(present.clone(), &long[..64]), 1);
    assert_eq!(pick(Sampling { repeat_last_n: None, ..present.clone() }, &long), 1);
    assert_eq!(pick(Sampling { repeat_last_n: Some(0), ..present }, &[0]), 0);
    assert_eq!(pick(Sampling { repeat_penalty: 0.0, ..greedy }, &[2]), 0);
}

#[test]
fn a_bias_moves_a_token_and_one_of_no_token_is_refused() {
    let greedy = Sampling { temperature: 0.0, ..open() };
    let with = |token, bias| Sampling { logit_bias: vec![(token, bias)], ..greedy.clone() };
    assert_eq!(pick(&mut sampler(with(2, 100.0), &[]), &[5.0, 4.0, -9.0], &[]), 2);
    assert_eq!(pick(&mut sampler(with(0, -100.0), &[]), &[5.0, 4.0, -9.0], &[]), 1);
    // What cannot be is not made possible.
    assert_eq!(pick(&mut sampler(with(0, 100.0), &[]), &[f32::NEG_INFINITY, 4.0], &[]), 1);
    assert_eq!(pick(&mut sampler(with(0, 100.0), &[]), &[f32::MAX, 4.0], &[]), 0);
    for token in [3, u32::MAX] {
        let fault = Sampler::new(with(token, 1.0), 3).unwrap_err();
        assert_eq!((fault.code, &fault.details["vocabulary"]), (Code::InvalidArgument, &3.into()));
    }
}

#[test]
fn odds_are_the_models_own_whatever_the_chain_does() {
    let logits = [0.5f32.ln(), 0.25f32.ln(), 0.15f32.ln(), 0.1f32.ln()];
    let sampling = Sampling {
        temperature: 0.0,
        logit_bias: vec![(3, 50.0)],
        repeat_penalty: 1.3,
        top_logprobs: Some(2),
        ..open()
    };
    let Pick { token, odds } = sampler(sampling, &[1]).pick(&mut logits.clone(), &[]).unwrap();
    let Odds { chosen, top } = odds.unwrap();
    assert_eq!(token, 3);
    assert!((chosen - 0.1f64.ln()).abs() < 1e-6, "{chosen}");
    assert_eq!(top.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [0, 1]);
    assert!((top[1].1 - 0.25f64.ln()).abs() < 1e-6, "{top:?}");
    let none = Sampling { top_logprobs: Some(0), ..open() };
    let odds = sampler(none, &[]).pick(&mut logits.clone(), &[]).unwrap().odds.unwrap();
    assert!(odds.top.is_empty() && odds.chosen < 0.0);
    assert!(sampler(open(), &[]).pick(&mut logits.clone(), &[]).unwrap().odds.is_none());
}

#[test]
fn logits_that_are_no_numbers_are_a_fault() {
    for temperature in [0.0, 1.0] {
        let sampling = Sampling { temperature, ..open() };
        for logits in [[0.0, f32::NAN], [f32::INFINITY, 0.0], [f32::NEG_INFINITY; 2]] {
            let fault = sampler(sampling.clone(), &[]).pick(&mut logits.clone(), &[]).unwrap_err();
            assert_eq!(fault.code, Code::Internal);
        }
        assert!(sampler(sampling, &[]).pick(&mut [], &[]).is_err());
    }
}
