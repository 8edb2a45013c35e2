//! What a `credential_process` prints (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html>,
//! 2026-11), as `aws configure export-credentials` does.

use std::time::SystemTime;

use serde::Deserialize;

use super::super::command::{self, Tale};
use super::super::secret::Secret;
use super::{Identity, keys};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Printed {
    version: u32,
    access_key_id: Secret,
    secret_access_key: Secret,
    session_token: Option<Secret>,
    expiration: Option<String>,
}

impl Tale for Identity {
    fn read(text: &str) -> Result<(Self, Option<SystemTime>), String> {
        // The error would repeat what was printed.
        let printed: Printed = serde_json::from_str(text).map_err(|_| {
            "printed no keys as `credential_process` has them: a JSON object with `Version` 1, `AccessKeyId` and \
             `SecretAccessKey`"
        })?;
        let Printed { version, access_key_id, secret_access_key, session_token, expiration } = printed;
        if version != 1 {
            return Err(format!("printed keys of `Version` {version}; this is 1"));
        }
        let ends =
            expiration.map(|text| command::time(&text).ok_or("printed an `Expiration` that is no time of ISO 8601"));
        let identity = keys::identity(
            ("AccessKeyId", &access_key_id),
            ("SecretAccessKey", &secret_access_key),
            ("SessionToken", session_token.as_ref()),
        );
        Ok((identity.map_err(|reason| format!("printed keys whose {reason}"))?, ends.transpose()?))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_a_credential_process_prints_is_an_identity_with_an_end() {
        let printed = r#"{"Version":1,"AccessKeyId":"AKID","SecretAccessKey":"s","SessionToken":"t","AccountId":"1",
            "Expiration":"2015-08-30T12:36:00+00:00"}"#;
        let (identity, ends) = Identity::read(printed).unwrap();
        let parts = (identity.access_key_id(), identity.secret_access_key(), identity.session_token());
        assert_eq!(parts, ("AKID", "s", Some("t")));
        assert_eq!(ends, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160)));
        let static_keys = r#"{"Version":1,"AccessKeyId":"AKID","SecretAccessKey":"s","SessionToken":""}"#;
        let (identity, ends) = Identity::read(static_keys).unwrap();
        assert_eq!((identity.session_token(), ends), (None, None));
    }

    #[test]
    fn what_is_none_is_refused_without_being_repeated() {
        for (printed, reason) in [
            ("hidden", "printed no keys as `credential_process` has them"),
            (r#"{"Version":1,"AccessKeyId":"hidden"}"#, "printed no keys"),
            (r#"{"Version":1,"AccessKeyId":"hidden","SecretAccessKey":7}"#, "printed no keys"),
            (r#"{"Version":2,"AccessKeyId":"a","SecretAccessKey":"hidden"}"#, "printed keys of `Version` 2; this is 1"),
            (
                r#"{"Version":1,"AccessKeyId":"a","SecretAccessKey":"hidden\nhidden"}"#,
                "printed keys whose `SecretAccessKey` holds a control character",
            ),
            (
                r#"{"Version":1,"AccessKeyId":"","SecretAccessKey":"hidden"}"#,
                "printed keys whose `AccessKeyId` is empty",
            ),
            (
                r#"{"Version":1,"AccessKeyId":"a","SecretAccessKey":"hidden","Expiration":"hidden"}"#,
                "printed an `Expiration` that is no time",
            ),
        ] {
            let error = Identity::read(printed).unwrap_err();
            assert!(error.starts_with(reason) && !error.contains("hidden"), "{error}");
        }
    }
}
