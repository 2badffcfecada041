//! The engine as the worker uses it: jobs in, pieces out.

use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;
use wire::generate::{ChatRole, Message};
use wire::limits;

use super::testing::golden::{Golden, Held};
use super::testing::{TestModel, Words};
use super::weights::MappedModel;
use super::*;

fn options(path: &Path, ctx_size: u32) -> LoadOptions {
    LoadOptions { path: path.to_owned(), ctx_size, threads: None }
}

fn start(model: &TestModel, ctx_size: u32) -> Engine {
    let path = model.write();
    Engine::start(load(&options(&path, ctx_size), &mut |_, _| {}).unwrap(), 1).unwrap()
}

fn small() -> TestModel {
    TestModel::new("qwen3", GgmlDType::Q8_0)
}

/// A job without an end of its own, and where its answer goes.
fn job(prompt: Prompt, sampling: Sampling) -> (Job, mpsc::Receiver<Piece>) {
    let (pieces, answer) = mpsc::channel(limits::MAX_TOKEN_BACKLOG);
    let (id, arrived) = (RequestId::random(), Instant::now());
    let patience = Duration::from_secs(60);
    (Job { id, prompt, sampling, deadline: None, patience, arrived, pieces }, answer)
}

fn greedy(max_tokens: u32) -> Sampling {
    Sampling {
        temperature: 0.0,
        max_tokens: Some(max_tokens),
        ignore_eos: true,
        ..Sampling::default()
    }
}

fn raw(text: &str) -> Prompt {
    Prompt::Raw(text.to_owned())
}

fn chat(text: &str) -> Prompt {
    Prompt::Chat(vec![Message::new(ChatRole::User, text)])
}

/// Everything that an answer came to.
#[derive(Debug, Default)]
struct Answer {
    ids: Vec<u32>,
    text: String,
    reasoning: String,
    logprobs: Vec<ChosenLogprob>,
    prefilled: Vec<(u32, u32)>,
    end: Option<Piece>,
}

fn read(mut pieces: mpsc::Receiver<Piece>) -> Answer {
    let mut answer = Answer::default();
    while let Some(piece) = pieces.blocking_recv() {
        assert!(answer.end.is_none(), "{piece:?} after the end");
        match piece {
            Piece::Token { id, text, reasoning, logprobs, .. } => {
                answer.ids.push(id);
                answer.logprobs.extend(logprobs.map(|one| *one));
                answer.text.push_str(&text);
                answer.reasoning.push_str(&reasoning);
            }
            Piece::Prefilled { done, total } => answer.prefilled.push((done, total)),
            end => answer.end = Some(end),
        }
    }
    answer
}

fn ask(engine: &Engine, prompt: Prompt, sampling: Sampling) -> Answer {
    let (job, pieces) = job(prompt, sampling);
    engine.submit(job).unwrap();
    read(pieces)
}

fn finished(answer: &Answer) -> (FinishReason, Usage) {
    match &answer.end {
        Some(Piece::Finished { reason, usage, .. }) => (*reason, *usage),
        other => panic!("{other:?}"),
    }
}

fn fault(answer: Answer) -> Fault {
    match answer.end {
        Some(Piece::Failed(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

/// Waits until the engine is as busy as `goal`; the test's own time limit is the bound.
fn wait_for(engine: &Engine, goal: Occupancy) {
    let mut seen = engine.occupancy();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let waited = runtime.block_on(async {
        let bound = Duration::from_secs(60);
        tokio::time::timeout(bound, seen.wait_for(|now| *now == goal)).await.map(|_| ())
    });
    assert!(waited.is_ok(), "the engine never was {goal:?}");
}

#[test]
fn an_answer_is_a_stream_of_tokens_with_usage_and_timings() {
    let engine = start(&small(), 512);
    let answer = ask(&engine, raw("hello"), greedy(8));
    let (reason, usage) = finished(&answer);
    assert_eq!((reason, answer.ids.len()), (FinishReason::Length, 8));
    let counts = (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens);
    assert_eq!(counts, (1, 8, 9));
    let Some(Piece::Finished { timings, .. }) = answer.end else { unreachable!() };
    assert!(timings.load_ms > 0.0 && timings.prefill_ms > 0.0 && timings.decode_ms > 0.0);
}

#[test]
fn the_same_request_gives_the_same_answer_and_the_slot_forgets() {
    let engine = start(&small(), 512);
    let sampling = || Sampling { temperature: 1.0, seed: Some(3), ..greedy(12) };
    let first = ask(&engine, raw("the hello"), sampling());
    ask(&engine, raw(&"another prompt ".repeat(20)), greedy(5));
    let second = ask(&engine, raw("the hello"), sampling());
    assert_eq!((&first.ids, &first.text), (&second.ids, &second.text));
    let other = ask(&engine, raw("the hello"), Sampling { seed: Some(4), ..sampling() });
    assert_ne!(first.ids, other.ids);
}

#[test]
fn a_stop_text_ends_the_answer_and_is_no_part_of_it() {
    let engine = start(&small(), 512);
    let whole = ask(&engine, raw("hello"), greedy(40)).text;
    let middle: Vec<char> = whole.chars().skip(5).take(3).collect();
    let stop: String = middle.into_iter().collect();
    let at = whole.find(&stop).unwrap();
    let answer = ask(&engine, raw("hello"), Sampling { stop: vec![stop], ..greedy(40) });
    assert_eq!(answer.text, whole[..at]);
    assert_eq!(finished(&answer).0, FinishReason::Stop);
}

#[test]
fn an_answer_does_not_end_before_its_least_tokens() {
    let engine = demo();
    let sampling = |min_tokens, stop: &[&str]| Sampling {
        temperature: 0.0,
        max_tokens: Some(120),
        min_tokens,
        stop: stop.iter().map(|&text| text.to_owned()).collect(),
        ..Sampling::default()
    };
    let usual = ask(&engine, chat("What is a hive?"), sampling(0, &[]));
    let count = finished(&usual).1.completion_tokens;
    let longer = ask(&engine, chat("What is a hive?"), sampling(count + 5, &[]));
    assert!(finished(&longer).1.completion_tokens >= count + 5, "{longer:?}");
    assert!(longer.text.starts_with(&usual.text), "{longer:?}");
    // A stop text within the least tokens is text like any other.
    let stop = usual.text.split(' ').next().unwrap();
    let stopped = ask(&engine, chat("What is a hive?"), sampling(0, &[stop]));
    assert_eq!((finished(&stopped).0, stopped.text.as_str()), (FinishReason::Stop, ""));
    let passed = ask(&engine, chat("What is a hive?"), sampling(count, &[stop]));
    assert!(passed.text.starts_with(&usual.text), "{passed:?}");
}

#[test]
fn each_token_comes_with_its_probability_when_that_is_asked_for() {
    let engine = demo();
    let sampling = Sampling {
        temperature: 0.0,
        max_tokens: Some(30),
        top_logprobs: Some(3),
        ..Sampling::default()
    };
    let answer = ask(&engine, chat("What is a hive?"), sampling);
    let told: Vec<u32> = answer.logprobs.iter().map(|one| one.chosen.id).collect();
    assert_eq!(told, answer.ids[..told.len()]);
    assert_eq!(told.len(), usize::try_from(finished(&answer).1.completion_tokens).unwrap());
    for ChosenLogprob { chosen, top_logprobs } in &answer.logprobs {
        // The greedy choice is the first of its rivals.
        assert_eq!((chosen, top_logprobs.len()), (&top_logprobs[0], 3));
        let sum: f64 = top_logprobs.iter().map(|one| one.logprob.exp()).sum();
        assert!(chosen.logprob <= 0.0 && sum <= 1.0 + 1e-9, "{top_logprobs:?}");
    }
    let bytes: Vec<u8> = answer.logprobs.into_iter().flat_map(|one| one.chosen.bytes).collect();
    assert_eq!(String::from_utf8(bytes).unwrap(), answer.text);
    let bias = Sampling { logit_bias: vec![(u32::MAX, 1.0)], ..greedy(3) };
    let refused = ask(&engine, chat("What is a hive?"), bias);
    assert!(refused.ids.is_empty());
    assert_eq!(fault(refused).code, Code::InvalidArgument);
}

#[test]
fn the_context_ends_an_answer_and_refuses_a_prompt_by_how_much() {
    let engine = start(&small(), 64);
    let answer = ask(&engine, raw("hello"), Sampling { max_tokens: None, ..greedy(1) });
    let (reason, usage) = finished(&answer);
    assert_eq!((reason, usage.total_tokens), (FinishReason::Length, 64));
    let fits = ask(&engine, raw(&"x".repeat(63)), greedy(9));
    assert_eq!(finished(&fits).1.completion_tokens, 1);
    let fault = fault(ask(&engine, raw(&"x".repeat(70)), greedy(9)));
    assert_eq!((fault.code, &fault.details["over_tokens"]), (Code::ContextOverflow, &7.into()));
}

#[test]
fn a_text_that_cannot_fit_is_refused_before_it_is_tokenized() {
    let engine = start(&small(), 64);
    for prompt in [raw(&"hello ".repeat(100_000)), chat(&"hello ".repeat(100_000))] {
        let fault = fault(ask(&engine, prompt, greedy(9)));
        assert_eq!(fault.code, Code::ContextOverflow);
        assert!(fault.message.contains("at least"), "{}", fault.message);
        assert!(fault.details["over_tokens"].as_u64() > Some(1000), "{fault:?}");
    }
}

#[test]
fn a_long_prompt_is_told_part_by_part() {
    let answer = ask(&start(&small(), 1024), raw(&"x".repeat(600)), greedy(1));
    assert_eq!(answer.prefilled, [(256, 600), (512, 600)]);
    assert_eq!(finished(&answer).1.prompt_tokens, 600);
}

#[test]
fn a_chat_is_rendered_by_the_models_template_and_a_raw_prompt_is_not() {
    let engine = start(&small(), 512);
    let words = Words::new();
    let rendered = ask(&engine, chat("hello"), greedy(6));
    let marked = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n";
    let by_hand = ask(&engine, raw(marked), greedy(6));
    assert_eq!(rendered.ids, by_hand.ids);
    assert_eq!(finished(&rendered).1.prompt_tokens, finished(&by_hand).1.prompt_tokens);
    assert!(rendered.ids.iter().all(|id| usize::try_from(*id).unwrap() < words.tokens.len()));
}

/// A vocabulary of `SentencePiece`, as many tokens as every test model has.
fn of_sentence_pieces() -> TestModel {
    use super::testing::{text, texts};
    use candle_core::quantized::gguf_file::Value;
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).into();
    tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    let mut types = vec![2, 3, 3];
    types.extend([6; 256]);
    while tokens.len() < Words::new().tokens.len() {
        tokens.push("\u{2581}a".repeat(types.len() - 258));
        types.push(1);
    }
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let list = |all: Vec<Value>| Value::Array(all);
    let scores = vec![Value::F32(0.0); tokens.len()];
    small()
        .set(&key("model"), text("llama"))
        .set(&key("tokens"), texts(&tokens))
        .set(&key("token_type"), list(types.into_iter().map(Value::I32).collect()))
        .set(&key("scores"), list(scores))
        .set(&key("bos_token_id"), Value::U32(1))
        .set(&key("eos_token_id"), Value::U32(2))
        .set("tokenizer.chat_template", text("{{ messages[0].content }}"))
}

/// transformers decodes an answer without the blank that the tokenizer puts before every text; what
/// a raw prompt is continued with needs it.
#[test]
fn an_answer_to_a_chat_begins_without_the_tokenizers_own_blank() {
    let engine = start(&of_sentence_pieces(), 512);
    let always = Sampling { logit_bias: vec![(259, 100.0)], ..greedy(3) };
    assert_eq!(ask(&engine, raw("a"), always.clone()).text, " a a a");
    assert_eq!(ask(&engine, chat("a"), always).text, "a a a");
}

#[test]
fn a_model_without_a_template_answers_raw_prompts_only() {
    let engine = start(&TestModel { template: None, ..small() }, 512);
    let fault = fault(ask(&engine, chat("hello"), greedy(3)));
    assert_eq!(fault.code, Code::TemplateFailed);
    assert!(
        fault.hints.iter().any(|hint| hint.contains("--raw")) && fault.correlation_id.is_some()
    );
    assert_eq!(ask(&engine, raw("hello"), greedy(3)).ids.len(), 3);
}

#[test]
fn an_answer_that_begins_inside_reasoning_says_so() {
    let template = "{{ messages[0].content }}<think>\n".to_owned();
    let engine = start(&TestModel { template: Some(template), ..small() }, 512);
    let answer = ask(&engine, chat("hello"), greedy(10));
    assert!(answer.text.is_empty() && !answer.reasoning.is_empty(), "{answer:?}");
}

#[test]
fn a_reader_that_goes_away_frees_the_slot() {
    let engine = start(&small(), 2048);
    let (first, pieces) = job(raw("hello"), Sampling { max_tokens: None, ..greedy(1) });
    engine.submit(first).unwrap();
    wait_for(&engine, Occupancy { active: 1, queued: 0 });
    drop(pieces);
    wait_for(&engine, Occupancy { active: 0, queued: 0 });
    assert_eq!(ask(&engine, raw("hello"), greedy(2)).ids.len(), 2);
}

#[test]
fn a_deadline_ends_a_running_a_waiting_and_an_unread_answer() {
    let engine = start(&small(), 2048);
    let endless = || Sampling { max_tokens: None, ..greedy(1) };
    let (mut unread, pieces) = job(raw("hello"), endless());
    unread.deadline = Some(Instant::now() + Duration::from_secs(2));
    engine.submit(unread).unwrap();
    let (mut waiting, waiting_pieces) = job(raw("hello"), endless());
    waiting.deadline = Some(Instant::now() + Duration::from_millis(1));
    engine.submit(waiting).unwrap();
    let late = fault(read(waiting_pieces));
    assert_eq!(late.code, Code::DeadlineExceeded);
    // Nobody reads the first one: its channel fills, and its deadline still ends it.
    wait_for(&engine, Occupancy { active: 0, queued: 0 });
    assert!(!read(pieces).ids.is_empty());
}

#[test]
fn a_reader_that_takes_nothing_loses_its_slot_to_the_next() {
    let engine = start(&small(), 2048);
    let (mut job, mut unread) = job(raw("x"), greedy(2000));
    job.patience = Duration::from_millis(100);
    engine.submit(job).unwrap();
    // Prompts are made ready on two threads: the next one's must not overtake it.
    assert!(unread.blocking_recv().is_some(), "its answer has begun");
    let next = ask(&engine, raw("y"), greedy(3));
    assert_eq!(finished(&next).0, FinishReason::Length);
    let mut last = None;
    while let Some(piece) = unread.blocking_recv() {
        last = Some(piece);
    }
    // Its channel was full to the last place, so its last word may be lost; its slot is not.
    let is_end = matches!(&last, Some(Piece::Failed(fault)) if fault.code == Code::Stalled);
    assert!(is_end || matches!(last, Some(Piece::Token { .. })), "{last:?}");
}

/// A model whose template runs for hours: each of its million steps compares 60 MB.
fn with_an_endless_template() -> TestModel {
    let template = "{% set a = 'x' * 30000000 %}{% set b = 'x' * 30000000 %}\
        {% for n in range(99999) %}{% if a == b %}{% endif %}{% endfor %}";
    TestModel { template: Some(template.to_owned()), ..small() }
}

#[test]
fn a_template_that_does_not_end_holds_up_nobody_and_ends_with_its_reader() {
    let engine = start(&with_an_endless_template(), 512);
    let slow: Vec<_> = (0..2 * limits::TEMPLATE_THREADS)
        .map(|_| {
            let (job, pieces) = job(chat("hello"), greedy(3));
            engine.submit(job).unwrap();
            pieces
        })
        .collect();
    let (mut late, late_pieces) = job(chat("hello"), greedy(3));
    late.deadline = Some(Instant::now() + Duration::from_millis(50));
    engine.submit(late).unwrap();
    assert_eq!(fault(read(late_pieces)).code, Code::DeadlineExceeded);
    drop(slow);
    wait_for(&engine, Occupancy { active: 0, queued: 0 });
    // Every thread for templates is free again.
    assert_eq!(ask(&engine, raw("hello"), greedy(3)).ids.len(), 3);
}

#[test]
fn one_endless_template_leaves_the_engine_to_the_others() {
    let engine = start(&with_an_endless_template(), 512);
    let (slow, slow_pieces) = job(chat("hello"), greedy(3));
    engine.submit(slow).unwrap();
    for _request in 0..5 {
        assert_eq!(ask(&engine, raw("hello"), greedy(20)).ids.len(), 20);
    }
    assert_eq!(engine.occupancy().borrow().queued, 1, "the slow one is still being prepared");
    drop(slow_pieces);
    wait_for(&engine, Occupancy { active: 0, queued: 0 });
}

#[test]
fn a_slow_reader_loses_nothing() {
    let engine = start(&small(), 512);
    let (mut slow, _) = job(raw("hello"), greedy(60));
    let (pieces, answer) = mpsc::channel(1);
    slow.pieces = pieces;
    engine.submit(slow).unwrap();
    let answer = read(answer);
    assert_eq!((answer.ids.len(), finished(&answer).0), (60, FinishReason::Length));
}

#[test]
fn the_queue_is_bounded_and_forgets_who_left() {
    let engine = start(&small(), 2048);
    let endless = || job(raw("hello"), Sampling { max_tokens: None, ..greedy(1) });
    let (active, active_pieces) = endless();
    engine.submit(active).unwrap();
    wait_for(&engine, Occupancy { active: 1, queued: 0 });
    let mut waiting: Vec<_> = (0..limits::MAX_QUEUE)
        .map(|_| {
            let (job, pieces) = endless();
            engine.submit(job).unwrap();
            pieces
        })
        .collect();
    let fault = engine.submit(endless().0).unwrap_err();
    assert_eq!(fault.code, Code::QueueFull);
    waiting.pop();
    let (job, kept) = endless();
    engine.submit(job).unwrap();
    drop((waiting, kept, active_pieces));
    wait_for(&engine, Occupancy { active: 0, queued: 0 });
}

#[test]
fn a_closed_engine_finishes_what_it_has_and_then_its_thread_ends() {
    let engine = start(&small(), 512);
    let (running, pieces) = job(raw("hello"), greedy(30));
    engine.submit(running).unwrap();
    engine.close();
    assert_eq!(engine.submit(job(raw("x"), greedy(1)).0).unwrap_err().code, Code::ShuttingDown);
    assert_eq!(read(pieces).ids.len(), 30);
    let mut seen = engine.occupancy();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { while seen.changed().await.is_ok() {} });
    assert_eq!(*seen.borrow(), Occupancy::default());
}

#[test]
fn a_file_that_is_no_model_is_refused() {
    let load = |path: &Path| load(&options(path, 512), &mut |_, _| {}).err().unwrap().code;
    assert_eq!(load(Path::new("/nonexistent/model.gguf")), Code::ModelNotFound);
    assert_eq!(load(Path::new("/")), Code::ModelNotFound);
    let file = tempfile::NamedTempFile::new().unwrap();
    assert_eq!(load(file.path()), Code::ModelCorrupt);
    std::fs::write(file.path(), b"GGUF\x03\0\0\0 and no more").unwrap();
    assert_eq!(load(file.path()), Code::ModelCorrupt);
    let whole = std::fs::read(small().write()).unwrap();
    std::fs::write(file.path(), &whole[..whole.len() - 100]).unwrap();
    assert_eq!(load(file.path()), Code::ModelCorrupt);
    let fault = super::load(&options(file.path(), 512), &mut |_, _| {}).err().unwrap();
    let path = file.path().to_str().unwrap();
    assert!(fault.message.starts_with(path) && fault.hints[0].contains(path), "{fault:?}");
}

#[test]
fn slots_and_threads_that_cannot_be_are_refused() {
    let path = small().write();
    let model = load(&options(&path, 512), &mut |_, _| {}).unwrap();
    assert_eq!(Engine::start(model, 2).err().unwrap().code, Code::InvalidArgument);
    let threads = Some(candle_core::utils::get_num_threads() + 1);
    let options = LoadOptions { threads, ..options(&path, 512) };
    assert_eq!(load(&options, &mut |_, _| {}).err().unwrap().code, Code::InvalidArgument);
}

fn demo() -> Engine {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../agent/demo/demo.gguf"].iter().collect();
    let header = MappedModel::open(&path).unwrap().header;
    let ctx_size = header.shape().unwrap().context;
    Engine::start(load(&options(&path, ctx_size), &mut |_, _| {}).unwrap(), 1).unwrap()
}

#[test]
fn the_demo_model_says_what_a_hive_is() {
    let sampling = Sampling { temperature: 0.0, max_tokens: Some(80), ..Sampling::default() };
    let answer = ask(&demo(), chat("What is a hive?"), sampling);
    assert_eq!(finished(&answer).0, FinishReason::Stop);
    assert!(answer.text.contains("machine"), "{:?}", answer.text);
}

/// A `tokenizer.json` of the printable characters of ASCII and a mark that ends an answer.
fn printable() -> String {
    let mut vocabulary: serde_json::Map<String, serde_json::Value> =
        (33..=126u8).zip(0..).map(|(byte, id)| (char::from(byte).to_string(), id.into())).collect();
    vocabulary.insert("Ġ".to_owned(), 94.into());
    let coding = serde_json::json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true
    });
    let end = serde_json::json!({
        "id": 95, "content": "<|end|>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true
    });
    serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [end],
        "normalizer": null, "pre_tokenizer": coding, "post_processor": null, "decoder": coding,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocabulary, "merges": []
        }
    })
    .to_string()
}

#[test]
fn a_directory_of_safetensors_answers_with_its_own_tokenizer_and_template() {
    let directory = Golden::read("llama").write_directory(Held::Bf16, 2);
    let options = options(directory.path(), 512);
    let refused = load(&options, &mut |_, _| {}).err().unwrap();
    assert_eq!(refused.code, Code::ModelUnsupported);
    assert!(refused.message.contains("tokenizer.json"), "{refused:?}");

    let write = |name: &str, text: &str| {
        std::fs::write(directory.path().join(name), text).unwrap();
    };
    write("tokenizer.json", &printable());
    let engine = || Engine::start(load(&options, &mut |_, _| {}).unwrap(), 1).unwrap();
    let answer = ask(&engine(), raw("What is a hive?"), greedy(8));
    let (reason, usage) = finished(&answer);
    assert_eq!((reason, usage.prompt_tokens, answer.ids.len()), (FinishReason::Length, 15, 8));
    assert_eq!(ask(&engine(), raw("What is a hive?"), greedy(8)).ids, answer.ids);

    let refused = fault(ask(&engine(), chat("Hi"), greedy(1)));
    assert_eq!(refused.code, Code::TemplateFailed, "{refused:?}");
    let template = "{% for m in messages %}{{ m.content }}{% endfor %}?";
    let config = serde_json::json!({ "eos_token": "<|end|>", "chat_template": template });
    write("tokenizer_config.json", &config.to_string());
    let (_, usage) = finished(&ask(&engine(), chat("Hi"), greedy(1)));
    assert_eq!(usage.prompt_tokens, 3);
    write("chat_template.jinja", "{{ messages[0].content }}");
    let (_, usage) = finished(&ask(&engine(), chat("Hi"), greedy(1)));
    assert_eq!(usage.prompt_tokens, 2);
}
