//! The component's interface in Rust, generated from `wit/`.
//!
//! Its types are the guest's domain model: there is no second one. Everything else in this crate works on them; only
//! `component` touches the resources and the exports.

use std::borrow::Cow;

pub use self::generated::seaway::completion::types::*;

/// What `wit-bindgen` writes.
#[expect(missing_docs, reason = "generated code")]
pub mod generated {
    wit_bindgen::generate!({
        path: "../wit",
        world: "completer",
        generate_all,
        additional_derives: [PartialEq],
    });
}

impl Request {
    /// A request that says nothing but the model and the conversation.
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

impl TextPart {
    /// Text, and nothing about caches.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), cache_control: None }
    }
}

impl Message {
    /// A system message of one text.
    pub fn system(text: impl Into<String>) -> Self {
        Self::System(Instructions { parts: vec![TextPart::new(text)], name: None })
    }

    /// A user message of one text.
    pub fn user(text: impl Into<String>) -> Self {
        Self::User(UserMessage { parts: vec![Part::Text(TextPart::new(text))], name: None })
    }
}

impl Source {
    /// What is at an address, and its media type: the content of a `data:` URL, else the address itself.
    /// <https://www.rfc-editor.org/rfc/rfc2397>
    pub fn at(url: Cow<'_, str>) -> (Self, Option<String>) {
        let data = url.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:")).and_then(|_| url.split_once(','));
        let head = data.and_then(|(head, data)| Some((head[5..].strip_suffix(";base64")?, data)));
        match head {
            Some((kind, data)) => {
                (Self::Base64(data.to_owned()), Some(kind.to_owned()).filter(|kind| !kind.is_empty()))
            }
            None => (Self::Url(url.into_owned()), None),
        }
    }
}

impl Error {
    /// An error that says what went wrong, and nothing about a provider.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            provider: None,
            status: None,
            provider_type: None,
            provider_code: None,
            param: None,
            retry_after: None,
            code: None,
        }
    }

    /// The same, naming the parameter at fault.
    #[must_use]
    pub fn about(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// The same, naming the provider's row if none is named yet.
    #[must_use]
    pub fn from(mut self, provider: &str) -> Self {
        self.provider.get_or_insert_with(|| provider.to_owned());
        self
    }
}
