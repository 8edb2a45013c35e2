//! The only I/O: the exports, the send, the pump.
//!
//! Before: a host calls `completions` or the `wasi:http` handler. After: its `wasi:http` client. Everything in between is the
//! pure core. Invariant: few crossings into the host - a body in one write, an answer in large reads, one write a read - and
//! nothing goes on when nobody reads any more.

mod code;
mod pump;
mod send;
mod handler;

use std::sync::OnceLock;

use crate::{
    bindings::{
        Completion, Delta, Error, ErrorKind, Finish, Request,
        generated::{export, exports, wit_future, wit_stream},
    },
    dialect::{Dialect, by_name, fold},
    provider::{Table, Target, resolve},
};
use pump::Pump;

struct Component;

/// The exports' entry points.
#[expect(unsafe_code, reason = "the canonical ABI; generated code")]
mod entry {
    super::export!(Component with_types_in crate::bindings::generated);
    use super::Component;
}

impl exports::seaway::completion::completions::Guest for Component {
    async fn complete(request: Request) -> Result<Completion, Error> {
        let (target, dialect) = aim(&request.model)?;
        complete(&target, dialect, &request).await
    }

    async fn stream(request: Request) -> Result<Stream, Error> {
        let mut pump = {
            let (target, dialect) = aim(&request.model)?;
            Pump::open(&target, dialect, &request).await?
        };
        drop(request);
        let first = pump.more().await?;
        let (mut writer, reader) = wit_stream::new::<Delta>();
        let (ended, end) = wit_future::new::<Result<Finish, Error>>(|| {
            Err(Error::new(ErrorKind::Connection, "the stream was given up before its end"))
        });
        wit_bindgen::spawn_local(async move {
            let mut finish = Finish { choices: Vec::new(), usage: None };
            let mut next = Ok(Some(first.unwrap_or_default()));
            let result = loop {
                match next {
                    Ok(Some(deltas)) => {
                        note(&mut finish, &deltas);
                        if !writer.write_all(deltas).await.is_empty() {
                            // Nobody reads any more: leave, which closes the connection to the provider.
                            return;
                        }
                    }
                    Ok(None) => break Ok(finish),
                    Err(error) => break Err(error),
                }
                next = pump.more().await;
            };
            drop(pump);
            drop(writer);
            // A caller that does not want to know why has dropped its end.
            let _ = ended.write(result).await;
        });
        Ok((reader, end))
    }
}

type Stream = (wit_bindgen::StreamReader<Delta>, wit_bindgen::FutureReader<Result<Finish, Error>>);

/// Notes what the end of a stream will have to say.
fn note(finish: &mut Finish, deltas: &[Delta]) {
    for delta in deltas {
        if let Delta::Finish(choice) = delta {
            let place = finish.choices.partition_point(|other| other.choice <= choice.choice);
            finish.choices.insert(place, choice.clone());
        } else if let Delta::Usage(usage) = delta {
            finish.usage = Some(*usage);
        }
    }
}

/// One completion, whole.
async fn complete(target: &Target<'_>, dialect: &dyn Dialect, request: &Request) -> Result<Completion, Error> {
    let answer = send::send(dialect, target, request, false).await?;
    let from = |error: Error| error.from(target.provider);
    let (head, body) = answer.whole().await.map_err(from)?;
    dialect.decode(&head, &body).and_then(fold).map_err(from)
}

/// The target of a model's name, with its key, and how it is spoken to.
fn aim(model: &str) -> Result<(Target<'_>, &'static dyn Dialect), Error> {
    let mut target = resolve(table()?, model)?;
    target.complete_from(variable)?;
    let dialect = by_name(target.dialect).map_err(|error| error.from(target.provider))?;
    Ok((target, dialect))
}

/// The tables, read once an instance.
fn table() -> Result<&'static Table, Error> {
    static TABLE: OnceLock<Result<Table, String>> = OnceLock::new();
    let read = || match variable("SEAWAY_MODELS") {
        Some(document) if !document.is_empty() => Table::from_json(&document).map_err(|error| error.to_string()),
        _ => Ok(Table::default()),
    };
    TABLE.get_or_init(read).as_ref().map_err(|why| Error::new(ErrorKind::Configuration, why.as_str()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the environment is the component's configuration; only this module reads it"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
