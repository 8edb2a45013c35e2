//! An answer as text: what the model says on stdout, what else there is to know on stderr.
//!
//! Runs on the component's typed exports. Invariant: text goes out as it comes, and what is no text is never lost in
//! silence.

use std::pin::pin;

use futures::StreamExt as _;

use super::super::{Failure, print, say};
use super::refused;
use crate::runtime::{CallRecord, Event, Runtime, types};

/// Prints text as it comes, and says at the end what the text does not.
pub(super) async fn streamed(runtime: &Runtime, request: types::Request, record: &CallRecord) -> Result<(), Failure> {
    let mut deltas = pin!(runtime.stream(request, record).await.map_err(|error| refused(error, record))?);
    let mut text = Text::default();
    while let Some(event) = deltas.next().await {
        match event {
            Ok(Event::Delta(delta)) => text.delta(delta)?,
            Ok(Event::Finish(finish)) => {
                text.end()?;
                finish.choices.iter().for_each(|choice| remark(choice.reason));
            }
            Err(error) => {
                text.end()?;
                return Err(refused(error, record));
            }
        }
    }
    Ok(())
}

/// The answer's text on stdout, and its tool calls, one a line.
#[derive(Default)]
struct Text {
    started: bool,
    line_open: bool,
    calls: Vec<types::ToolCall>,
    unshown: bool,
}

impl Text {
    fn delta(&mut self, delta: types::Delta) -> Result<(), Failure> {
        match delta {
            types::Delta::Text(text) | types::Delta::Refusal(text) if text.choice == 0 => self.text(&text.text),
            types::Delta::ToolCall(call) if call.choice == 0 => {
                self.calls.push(call.call);
                Ok(())
            }
            types::Delta::Arguments(more) if more.choice == 0 => {
                let call = usize::try_from(more.index).ok().and_then(|index| self.calls.get_mut(index));
                if let Some(call) = call {
                    call.arguments.push_str(&more.arguments);
                }
                Ok(())
            }
            types::Delta::Image(_) | types::Delta::Audio(_) => {
                self.unshown = true;
                Ok(())
            }
            // Other choices, which the command line never asks for, and what is no text.
            types::Delta::Text(_)
            | types::Delta::Refusal(_)
            | types::Delta::ToolCall(_)
            | types::Delta::Arguments(_)
            | types::Delta::Start(_)
            | types::Delta::Reasoning(_)
            | types::Delta::Annotation(_)
            | types::Delta::Logprobs(_)
            | types::Delta::Finish(_)
            | types::Delta::Usage(_) => Ok(()),
        }
    }

    fn text(&mut self, text: &str) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        self.started = true;
        self.line_open = !text.ends_with('\n');
        print::write(text.as_bytes())
    }

    fn end(&mut self) -> Result<(), Failure> {
        if std::mem::take(&mut self.line_open) {
            print::write(b"\n")?;
        }
        for types::ToolCall { name, arguments, .. } in std::mem::take(&mut self.calls) {
            print::line(format_args!("{name}({arguments})"))?;
        }
        if self.unshown {
            say("note: the answer holds an image or audio; --json prints it");
        }
        Ok(())
    }
}

/// Prints a whole answer.
pub(super) fn whole(completion: &types::Completion) -> Result<(), Failure> {
    let mut text = Text::default();
    let Some(choice) = completion.choices.first() else {
        say("note: the provider answered without a choice");
        return Ok(());
    };
    for part in &choice.message.parts {
        match part {
            types::Part::Text(part) => text.text(&part.text)?,
            types::Part::Refusal(words) => text.text(words)?,
            types::Part::ToolCall(call) => text.calls.push(call.clone()),
            types::Part::Image(_) | types::Part::Audio(_) | types::Part::File(_) => text.unshown = true,
            types::Part::Reasoning(_) => {}
        }
    }
    text.end()?;
    remark(choice.finish_reason);
    Ok(())
}

/// Says why an answer ended, where that is not simply that it was done.
fn remark(reason: types::FinishReason) {
    match reason {
        types::FinishReason::Stop | types::FinishReason::ToolCalls => {}
        types::FinishReason::Length => say("note: the answer was cut at its token limit (finish: length)"),
        types::FinishReason::ContentFilter => say("note: the model or the provider refused (finish: content_filter)"),
    }
}
