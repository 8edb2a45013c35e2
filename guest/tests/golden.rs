//! Every dialect x every case x every cut.
//!
//! A case is a folder `fixtures/<dialect>/<case>/`: `request.json` in OpenAI's form, with `table.json`, its own or its
//! dialect's, where it needs rows of its own; `upstream.json`, what the provider has to be sent; the provider's answer as
//! `response.json`, `.sse`, `.ndjson` or `.txt` under `head.json` (200 if absent), or as `response.events.json`, from which
//! binary messages are made; and `expected.json`, the completion in OpenAI's form, or the error. A case without an answer is
//! one whose request is refused. `whole.json` beside a streamed answer is the whole one that says the same.

#![expect(clippy::unwrap_used, clippy::result_large_err, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use seaway_guest::{
    api,
    bindings::{Completion, Delta, Error},
    dialect::{self, Dialect, Exchange, Head, Reader, fold},
    provider::{Table, resolve},
};
use serde_json::{Value, json};

const MANDATORY: &[&str] = &[
    "basic",
    "system",
    "multi-turn",
    "tools",
    "tool-result",
    "image",
    "json-schema",
    "stop",
    "length",
    "refusal",
    "error-401",
    "error-429",
    "error-500",
    "stream",
    "stream-tools",
    "stream-cut",
];

#[test]
fn every_dialect_has_the_mandatory_cases() {
    for (name, _) in dialect::ALL {
        let folder = fixtures().join(name);
        for case in MANDATORY {
            let there =
                folder.join(case).join("request.json").exists() || folder.join(case).join("unsupported.txt").exists();
            assert!(there, "{name}/{case} is missing: write it, or say why not in unsupported.txt");
        }
    }
}

#[test]
fn requests_are_what_the_provider_documents() {
    each_case(|case| {
        let wanted = case.json("upstream.json");
        match case.encode() {
            Ok(exchange) => assert_eq!(Some(shown(&exchange)), wanted, "{}", case.name()),
            Err(error) => {
                assert_eq!(wanted, None, "{} is refused: {error:?}", case.name());
                assert_eq!(Some(described(&error)), case.json("expected.json"), "{}", case.name());
            }
        }
    });
}

#[test]
fn answers_are_what_the_case_expects() {
    each_case(|case| {
        let Some(answer) = case.answer() else { return };
        let shown = match case.read(&answer).completion() {
            Ok(completion) => parsed(&api::answer(&completion, "asked-for")),
            Err(error) => described(&error),
        };
        assert_eq!(Some(shown), case.json("expected.json"), "{}", case.name());
    });
}

#[test]
fn every_cut_and_every_line_ending_gives_the_same_deltas() {
    each_case(|case| {
        let Some(answer) = case.answer().filter(|answer| case.streams() && answer.head.status == 200) else { return };
        let whole = case.read(&answer);
        for ending in ["\n", "\r", "\r\n"] {
            let body = if answer.binary { answer.body.clone() } else { with_endings(&answer.body, ending) };
            let read = |cuts: &[usize]| case.read_stream(&answer.head, &body, cuts);
            for cut in 0..=body.len() {
                assert_eq!(read(&[cut]), whole, "{} {ending:?} cut at {cut}", case.name());
            }
            let all: Vec<usize> = (0..body.len()).collect();
            assert_eq!(read(&all), whole, "{} {ending:?} byte by byte", case.name());
            if answer.binary {
                break;
            }
        }
    });
}

#[test]
fn a_streamed_answer_is_the_whole_one() {
    each_case(|case| {
        let Some(whole) = case.json("whole.json") else { return };
        // Without the spaces that make it fit to read: arguments of a call are passed on as they stand.
        let whole = serde_json::to_vec(&whole).unwrap();
        let answer = case.answer().unwrap();
        let whole = case.dialect().decode(&answer.head, &whole).and_then(fold).unwrap();
        assert_eq!(case.read(&answer).completion().unwrap(), whole, "{}", case.name());
    });
}

/// The API over the API: what we write as an answer or as chunks reads back as the same completion.
#[test]
fn our_own_answers_read_back_as_the_same_completion() {
    each_case(|case| {
        let Some(answer) = case.answer() else { return };
        let outcome = case.read(&answer);
        let Ok(completion) = outcome.completion() else { return };
        let body = api::answer(&completion, "asked-for");
        let ours = dialect::by_name("openai").unwrap();
        let again = ours.decode(&Head::ok(), &body).and_then(fold).unwrap();
        assert_eq!(normal(again), normal(completion.clone()), "{} whole", case.name());

        let mut chunks = api::Chunks::new("asked-for", true);
        let mut out = Vec::new();
        chunks.write(outcome.came, &mut out);
        chunks.end(&mut out);
        keeps_the_rules(&case.name(), &String::from_utf8(out.clone()).unwrap(), completion.choices.len());
        let mut reader = Reader::new(ours);
        let mut again = Vec::new();
        reader.push(&out, &mut again).unwrap();
        reader.end(&mut again).unwrap();
        assert_eq!(normal(fold(again).unwrap()), normal(completion), "{} streamed", case.name());
    });
}

/// OpenAI's rules for a stream of chunks, as clients rely on them.
fn keeps_the_rules(case: &str, text: &str, choices: usize) {
    let events: Vec<&str> = text.strip_suffix("\n\n").unwrap().split("\n\n").collect();
    let (last, chunks) = events.split_last().unwrap();
    assert_eq!(*last, "data: [DONE]", "{case}");
    let chunks: Vec<Value> =
        chunks.iter().map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap()).collect();
    for chunk in &chunks {
        assert_eq!(chunk["object"], "chat.completion.chunk", "{case}");
        assert_eq!(chunk["id"], chunks[0]["id"], "{case}");
        assert!(chunk["id"].as_str().is_some_and(|id| !id.is_empty()), "{case}");
        assert!(chunk["created"].is_u64() && chunk["model"].is_string(), "{case}");
    }
    let usages: Vec<&Value> = chunks.iter().filter(|chunk| chunk.get("usage").is_some()).collect();
    assert!(usages.len() <= 1 && usages.iter().all(|chunk| chunk["choices"] == json!([])), "{case}");
    let mut finished = 0;
    let mut begun: Vec<(u64, u64)> = Vec::new();
    let mut seen: Vec<u64> = Vec::new();
    for choice in chunks.iter().filter_map(|chunk| chunk["choices"].get(0)) {
        let index = choice["index"].as_u64().unwrap();
        let first = !seen.contains(&index);
        assert_eq!(choice["delta"]["role"] == "assistant", first, "{case}: {choice}");
        seen.push(index);
        finished += usize::from(!choice["finish_reason"].is_null());
        for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let number = call["index"].as_u64().unwrap();
            let function = call.get("function").or_else(|| call.get("custom")).unwrap();
            assert!(function.get("arguments").or_else(|| function.get("input")).unwrap().is_string(), "{case}");
            if begun.contains(&(index, number)) {
                assert!(call.get("id").is_none() && function.get("name").is_none(), "{case}: {call}");
            } else {
                assert!(call["id"].is_string() && function["name"].is_string(), "{case}: {call}");
                let before = begun.iter().filter(|(choice, _)| *choice == index).count();
                assert_eq!(number, before as u64, "{case}");
                begun.push((index, number));
            }
        }
    }
    assert_eq!(finished, choices, "{case}");
}

/// A case: its folder.
struct Case(PathBuf);

/// A provider's answer.
struct Answer {
    head: Head,
    body: Vec<u8>,
    /// It has no lines.
    binary: bool,
}

impl Case {
    fn name(&self) -> String {
        let names: Vec<_> = self.0.components().rev().take(2).map(|name| name.as_os_str().to_string_lossy()).collect();
        format!("{}/{}", names[1], names[0])
    }

    fn json(&self, name: &str) -> Option<Value> {
        let text = fs::read(self.0.join(name)).ok()?;
        Some(serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{} {name}: {error}", self.name())))
    }

    fn incoming(&self) -> Result<api::Incoming, Error> {
        api::parse(&fs::read(self.0.join("request.json")).unwrap())
    }

    fn streams(&self) -> bool {
        self.incoming().is_ok_and(|incoming| incoming.stream)
    }

    fn dialect(&self) -> &'static dyn Dialect {
        let name = self.0.parent().and_then(Path::file_name).unwrap().to_string_lossy().into_owned();
        dialect::by_name(&name).unwrap()
    }

    /// The request to the provider, with keys as Seaway's host wants them.
    fn encode(&self) -> Result<Exchange, Error> {
        let incoming = self.incoming()?;
        let own = self
            .json("table.json")
            .or_else(|| self.json("../table.json"))
            .map_or_else(Table::default, |table| Table::from_json(&table.to_string()).unwrap());
        let placeholder = Table::from_json(r#"{"credentials": "placeholder"}"#).unwrap();
        let table = Table::built_in().clone().merge(own).merge(placeholder);
        let target = resolve(&table, &incoming.request.model)?;
        self.dialect().encode(&target, &incoming.request, incoming.stream)
    }

    fn answer(&self) -> Option<Answer> {
        let events = self.json("response.events.json").map(|events| framed(&events));
        let binary = events.is_some();
        let text = ["response.json", "response.sse", "response.ndjson", "response.txt"]
            .iter()
            .find_map(|name| fs::read(self.0.join(name)).ok());
        let body = events.or(text)?;
        let head = self.json("head.json").unwrap_or_else(|| json!({ "status": 200 }));
        let fields = head["headers"].as_object().into_iter().flatten();
        let headers = fields.map(|(name, value)| (name.clone(), value.as_str().unwrap().as_bytes().to_vec()));
        let status = u16::try_from(head["status"].as_u64().unwrap()).unwrap();
        Some(Answer { head: Head { status, headers: headers.collect() }, body, binary })
    }

    /// Reads the answer in one piece.
    fn read(&self, answer: &Answer) -> Outcome {
        if self.streams() && answer.head.status == 200 {
            return self.read_stream(&answer.head, &answer.body, &[]);
        }
        let result = self.dialect().decode(&answer.head, &answer.body);
        Outcome { came: result.clone().unwrap_or_default(), result: result.map(|_| ()) }
    }

    /// Reads a streamed answer in the pieces between the cuts.
    fn read_stream(&self, head: &Head, body: &[u8], cuts: &[usize]) -> Outcome {
        let mut reader = Reader::new(self.dialect()).under(head.clone());
        let mut came = Vec::new();
        let mut result = Ok(());
        let mut begin = 0;
        for end in cuts.iter().copied().chain([body.len()]) {
            result = result.and_then(|()| reader.push(&body[begin..end], &mut came));
            begin = end;
        }
        let result = result.and_then(|()| reader.end(&mut came));
        Outcome { came, result }
    }
}

/// What came of an answer: its deltas, and whether they are all of it.
#[derive(Debug, PartialEq)]
struct Outcome {
    came: Vec<Delta>,
    result: Result<(), Error>,
}

impl Outcome {
    fn completion(&self) -> Result<Completion, Error> {
        self.result.clone().and_then(|()| fold(self.came.clone()))
    }
}

fn each_case(check: impl Fn(&Case)) {
    for (name, _) in dialect::ALL {
        let mut folders: Vec<PathBuf> =
            fs::read_dir(fixtures().join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        folders.sort();
        for folder in folders.into_iter().filter(|folder| folder.join("request.json").exists()) {
            check(&Case(folder));
        }
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// AWS's binary messages of a list: each an object of headers, all of them text, with the payload under `payload` - as JSON, or
/// as the text itself - and under `cut` how many bytes its end lacks.
fn framed(events: &Value) -> Vec<u8> {
    let mut all = Vec::new();
    for event in events.as_array().unwrap() {
        let mut headers = Vec::new();
        for (name, value) in event.as_object().unwrap().iter().filter(|(name, _)| name.starts_with(':')) {
            let value = value.as_str().unwrap();
            headers.push(u8::try_from(name.len()).unwrap());
            headers.extend_from_slice(name.as_bytes());
            headers.push(7);
            headers.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
            headers.extend_from_slice(value.as_bytes());
        }
        let payload = &event["payload"];
        let payload = payload.as_str().map_or_else(|| payload.to_string(), str::to_owned);
        let length = u32::try_from(headers.len() + payload.len() + 16).unwrap();
        let mut message = length.to_be_bytes().to_vec();
        message.extend_from_slice(&u32::try_from(headers.len()).unwrap().to_be_bytes());
        message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
        message.extend_from_slice(&headers);
        message.extend_from_slice(payload.as_bytes());
        message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
        message.truncate(message.len() - event["cut"].as_u64().unwrap_or(0) as usize);
        all.extend_from_slice(&message);
    }
    all
}

fn with_endings(body: &[u8], ending: &str) -> Vec<u8> {
    String::from_utf8(body.to_vec()).unwrap().replace("\r\n", "\n").replace('\n', ending).into_bytes()
}

fn parsed(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap()
}

fn shown(exchange: &Exchange) -> Value {
    let headers: serde_json::Map<String, Value> =
        exchange.headers.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    json!({ "url": exchange.url.to_string(), "headers": headers, "body": parsed(&exchange.body) })
}

/// An error, as the case writes it: what is `null` is left out.
fn described(error: &Error) -> Value {
    let all = json!({
        "kind": format!("{:?}", error.kind).trim_start_matches("ErrorKind::"),
        "message": error.message,
        "status": error.status,
        "type": error.provider_type,
        "code": error.provider_code,
        "param": error.param,
        "retry_after": error.retry_after,
        "answered_as": api::failure(error).status,
    });
    let fields = all.as_object().unwrap().iter().filter(|(_, value)| !value.is_null());
    json!({ "error": fields.map(|(name, value)| (name.clone(), value.clone())).collect::<serde_json::Map<_, _>>() })
}

/// A completion without what the API cannot say: the name of a model that named none, and where text parts are joined.
fn normal(mut completion: Completion) -> Value {
    if completion.start.model.is_empty() {
        "asked-for".clone_into(&mut completion.start.model);
    }
    parsed(&api::answer(&completion, "asked-for"))
}
