//! `seaway serve` in front of `seaway serve`.

use seaway_tests::answer::Gate;
use seaway_tests::gateway::{Gateway, Reply};
use seaway_tests::host::file;
use seaway_tests::origin::Origin;
use seaway_tests::provider::streamed;
use seaway_tests::request::Request;
use serde_json::Value;

use super::{STREAM, VARIABLES};

/// What the chunks of a stream say, without who says it and when.
fn deltas(reply: &Reply) -> Vec<Value> {
    let data = reply.body.lines().filter_map(|line| line.strip_prefix("data: "));
    let mut chunks: Vec<Value> = data.filter_map(|data| serde_json::from_str(data).ok()).collect();
    for chunk in &mut chunks {
        for own in ["id", "created", "model"] {
            chunk.as_object_mut().unwrap().remove(own);
        }
    }
    chunks
}

#[tokio::test]
async fn a_gateway_before_a_gateway_gives_the_same_deltas() {
    let gate = Gate::shut();
    gate.open(1000);
    let origin = Origin::plain(move |_: &Request| streamed(&gate, &["one ", "tw\u{f6}\u{2028}", "\"three\""])).await;
    let inner = Gateway::start(&file(&origin), &VARIABLES).await;
    let base = inner.url("/v1");
    let outer = format!(
        "[providers.test]\ndialect = \"openai\"\nbase_url = \"{base}\"\n\
         [models.chained]\nprovider = \"test\"\nmodel = \"test/m-1\"\n\
         [credentials.test]\nenv = \"TEST_KEY\"\nurls = [\"{base}\"]\n"
    );
    let outer = Gateway::start(&outer, &VARIABLES).await;
    let usage = STREAM.replace("\"stream\": true", "\"stream\": true, \"stream_options\": {\"include_usage\": true}");
    for body in [STREAM, &usage] {
        let direct = deltas(&inner.complete("none", body).await);
        let chained = deltas(&outer.complete("none", &body.replace("test/m-1", "chained")).await);
        assert_eq!(direct, chained);
        let text: String = direct.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(text, "one tw\u{f6}\u{2028}\"three\"");
        assert_eq!(direct.iter().any(|chunk| chunk["usage"].is_object()), body == usage);
    }
}
