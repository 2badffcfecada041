//! Loans without a hive: what is understood, who lends, and who is given up.

use super::*;
use tokio::io::BufReader;

#[tokio::test(flavor = "current_thread")]
async fn a_line_that_is_too_long_or_cut_is_not_understood() {
    let whole = |text: &str| BufReader::new(std::io::Cursor::new(text.to_owned()));
    assert_eq!(hear(&mut whole("\"taken\"\n")).await, Some(Reply::Taken));
    assert_eq!(hear::<Reply>(&mut whole("\"taken\"")).await, None);
    let long = format!("\"{}\"\n", "x".repeat(300 * 1024));
    assert_eq!(hear::<String>(&mut whole(&long)).await, None);
    assert_eq!(hear::<Reply>(&mut whole("\"something new\"\n")).await, None);
}

#[test]
fn other_terms_and_none_at_all_are_not_the_same() {
    let terms = Terms::of(&("ada@host", 22));
    assert!(terms.allow(&Terms::of(&("ada@host", 22))));
    assert!(!terms.allow(&Terms::of(&("ada@host", 23))));
    assert!(!Terms::default().allow(&Terms::default()));
}

#[test]
fn a_request_and_its_answers_have_these_words() {
    let request = Request {
        version: VERSION,
        hive: "a".parse().unwrap(),
        terms: Terms::of(&"x"),
        build: "0123456789abcdef".parse().unwrap(),
        call: Call::Ended(7),
    };
    let line = serde_json::to_string(&request).unwrap();
    let words = r#"{"version":1,"hive":"a","terms":"\"x\"","build":"0123456789abcdef","#;
    assert_eq!(line, format!(r#"{words}"call":{{"ended":7}}}}"#));
    assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), request);
    let opened = serde_json::to_string(&Reply::Opened { agent_pid: Some(3) }).unwrap();
    assert_eq!(opened, r#"{"opened":{"agent_pid":3}}"#);
}
