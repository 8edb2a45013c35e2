//! How long the first byte of an answer may take.
//!
//! Around the wait for the head of an answer, from a connection or a transport. The time counts from when the whole request has
//! been handed over: a long upload is no silence of the server's.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::Upload;
use crate::error::{Error, Kind};
use crate::policy::units::Timeout;
use crate::stage::{Deadline, Stage};

/// The deadline of the answer's first byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FirstByte {
    timeout: Option<Duration>,
    name: &'static str,
}

impl FirstByte {
    /// The shorter of the policy's and the caller's.
    pub(crate) fn new(policy: Timeout, caller: Option<Duration>) -> Self {
        match (policy.0, caller) {
            (Some(policy), Some(caller)) if caller < policy => {
                Self { timeout: Some(caller), name: "first-byte-timeout" }
            }
            (Some(policy), _) => Self { timeout: Some(policy), name: "wire.timeout" },
            (None, caller) => Self { timeout: caller, name: "first-byte-timeout" },
        }
    }

    /// Waits for an answer until then; the time counts from when the whole request has been handed over.
    pub(super) async fn wait<T>(
        self,
        upload: Option<&Upload>,
        mut answer: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, Error> {
        let Some(timeout) = self.timeout else { return Ok(answer.await) };
        let deadline = async {
            if let Some(upload) = upload {
                upload.ended().await;
            }
            tokio::time::sleep(timeout).await;
        };
        tokio::select! {
            biased;
            answer = &mut answer => Ok(answer),
            () = deadline => Err(self.passed()),
        }
    }

    fn passed(self) -> Error {
        let deadline = Deadline::within(self.timeout, self.name, Kind::ReadTimeout);
        let error = deadline.map(|deadline| deadline.error(Stage::Wire));
        error.unwrap_or_else(|| Error::new(Stage::Wire, Kind::ReadTimeout, "no answer came")).after_sending()
    }
}
