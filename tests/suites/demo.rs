//! The demo model, scored through the whole program with greedy decoding.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what goes wrong here is a failed test"
)]

use std::path::Path;

use rbee_tests::{Sandbox, http};
use serde::Deserialize;

/// The text that the demo model was trained on, and what was kept from it.
#[derive(Debug, Deserialize)]
struct Topics {
    topic: Vec<Topic>,
    refusal: Refusal,
}

#[derive(Debug, Deserialize)]
struct Topic {
    answer: String,
    trained: Vec<String>,
    held_out: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    answer: String,
    held_out: HeldOut,
}

#[derive(Debug, Deserialize)]
struct HeldOut {
    unseen: Vec<String>,
}

fn topics() -> Topics {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/demo-model/topics.toml");
    let text = std::fs::read_to_string(path).expect("the demo model's text");
    toml::from_str(&text).expect("its schema")
}

/// One worker of the demo model, asked over the agent's socket.
struct Asked {
    sandbox: Sandbox,
    path: String,
}

impl Asked {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let _ = sandbox.rbee(&["run", "-m", "demo", "hello"]).expect_code(0);
        let workers = sandbox.workers();
        let id = workers[0]["id"].as_str().expect("an id").to_owned();
        Self { sandbox, path: format!("/v1/workers/{id}/chat/completions") }
    }

    fn answer(&self, question: &str) -> String {
        let body = serde_json::json!({
            "messages": [{"role": "user", "content": question}],
            "temperature": 0, "max_tokens": 120,
        });
        let socket = self.sandbox.agent_socket();
        let response = http::request(&socket, "POST", &self.path, body.to_string().as_bytes())
            .expect("the agent answers");
        assert_eq!(
            response.status,
            200,
            "{question:?}: {}",
            String::from_utf8_lossy(&response.body)
        );
        response
            .events()
            .iter()
            .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
            .collect::<String>()
            .trim()
            .to_owned()
    }

    /// Per cent of the questions that get exactly this answer.
    fn score<'a>(&self, asked: impl Iterator<Item = (&'a str, &'a str)>) -> f64 {
        let (mut right, mut all) = (0.0, 0.0);
        for (question, answer) in asked {
            all += 1.0;
            if self.answer(question) == answer.trim() {
                right += 1.0;
            }
        }
        assert!(all > 0.0, "there are questions");
        100.0 * right / all
    }
}

#[test]
fn the_demo_model_knows_rbee_and_admits_what_it_does_not_know() {
    let topics = topics();
    assert!(topics.topic.len() >= 20, "20 topics or more");
    let asked = Asked::new();

    let trained = asked.score(
        topics.topic.iter().flat_map(|t| t.trained.iter().map(|q| (q.as_str(), t.answer.as_str()))),
    );
    let held_out = asked.score(
        topics
            .topic
            .iter()
            .flat_map(|t| t.held_out.iter().map(|q| (q.as_str(), t.answer.as_str()))),
    );
    let unseen = asked.score(
        topics.refusal.held_out.unseen.iter().map(|q| (q.as_str(), topics.refusal.answer.as_str())),
    );
    println!("trained {trained:.1} %, held out {held_out:.1} %, refused {unseen:.1} %");
    assert!(trained >= 95.0, "trained wordings: {trained:.1} %");
    assert!(held_out >= 80.0, "held-out wordings: {held_out:.1} %");
    assert!(unseen >= 90.0, "refusals: {unseen:.1} %");
}

#[test]
fn the_demo_model_is_small_enough_to_travel() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/demo/demo.gguf");
    let bytes = std::fs::metadata(path).expect("the demo model").len();
    assert!(bytes <= 8 * 1024 * 1024, "{bytes} bytes");
}
