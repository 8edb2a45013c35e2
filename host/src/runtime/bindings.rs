//! The component's world as Rust types: generated, and used as they are. There is no second set of them in the host.

#![expect(missing_docs, reason = "generated: every item is documented in wit/completion.wit")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "seaway:completion/completer",
    exports: { default: async | store },
    with: {
        "wasi:http": wasmtime_wasi_http::p3::bindings::http,
        "wasi:clocks": wasmtime_wasi::p3::bindings::clocks,
    },
});

use self::seaway::completion::types::{Instructions, Message, Part, Request, Sampling, TextPart, UserMessage};

impl Request {
    /// A request that leaves everything but the model and the conversation to the provider.
    #[must_use]
    pub fn new(model: impl Into<String>, messages: Vec<Message>) -> Self {
        Self {
            model: model.into(),
            messages,
            sampling: Sampling {
                temperature: None,
                top_p: None,
                top_k: None,
                presence_penalty: None,
                frequency_penalty: None,
                logit_bias: Vec::new(),
                seed: None,
                stop: Vec::new(),
            },
            max_tokens: None,
            n: None,
            response_format: None,
            tools: Vec::new(),
            tool_choice: None,
            parallel_tool_calls: None,
            reasoning: None,
            verbosity: None,
            logprobs: None,
            top_logprobs: None,
            stream_options: None,
            modalities: Vec::new(),
            audio: None,
            prediction: Vec::new(),
            web_search: None,
            service_tier: None,
            user: None,
            safety_identifier: None,
            prompt_cache_key: None,
            prompt_cache_retention: None,
            store: None,
            metadata: Vec::new(),
            extra_json: None,
            extra_headers: Vec::new(),
            base_url: None,
            drop_unsupported: false,
        }
    }
}

impl Message {
    /// What the user said, as one text.
    #[must_use]
    pub fn user(text: impl Into<String>) -> Self {
        Self::User(UserMessage { parts: vec![Part::Text(TextPart::new(text))], name: None })
    }

    /// Instructions from who runs the application, as one text.
    #[must_use]
    pub fn system(text: impl Into<String>) -> Self {
        Self::System(Instructions { parts: vec![TextPart::new(text)], name: None })
    }
}

impl TextPart {
    /// Text without a mark for the provider's cache.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), cache_control: None }
    }
}
