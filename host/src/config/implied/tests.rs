use std::path::Path;

use super::*;
use crate::config::Config;

fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::parse(Path::new("seaway.toml"), text, &environment).map_err(|error| error.to_string())
}

fn urls(config: &Config, credential: &str) -> Vec<String> {
    config.policy.credentials[credential].urls.iter().map(Prefix::to_string).collect()
}

fn signing<'c>(config: &'c Config, credential: &str) -> &'c sigv4::Settings {
    match &config.policy.credentials[credential].kind {
        Sort::Sigv4(settings) => settings,
        Sort::Key(_) | Sort::Command(_) => panic!("`{credential}` does not sign"),
    }
}

fn env(name: &str) -> Source {
    Source::Env(name.to_owned())
}

const EU: &str = "https://bedrock-runtime.eu-central-1.amazonaws.com";
const US: &str = "https://bedrock-runtime.us-east-1.amazonaws.com";

#[test]
fn bedrock_is_signed_for_the_region_of_the_environment() {
    for variable in ["AWS_REGION", "AWS_REGION_NAME", "AWS_DEFAULT_REGION"] {
        let config = parse("", &[(variable, "eu-central-1"), ("AWS_ACCESS_KEY_ID", "a")]).unwrap();
        let wanted = sigv4::Settings {
            keys: sigv4::Keys::Each {
                access_key: env("AWS_ACCESS_KEY_ID"),
                secret_key: env("AWS_SECRET_ACCESS_KEY"),
                token: None,
            },
            region: "eu-central-1".to_owned(),
            service: "bedrock".to_owned(),
        };
        assert_eq!(*signing(&config, "bedrock"), wanted);
        assert_eq!(urls(&config, "bedrock"), [EU]);
        assert_eq!(config.table.providers["bedrock"].region.as_deref(), Some("eu-central-1"));
        let there = |host: &str| config.destinations.built_in.iter().any(|there| there.origin.host() == host);
        assert!(there("bedrock-runtime.eu-central-1.amazonaws.com"));
    }
}

#[test]
fn a_session_token_is_used_where_there_is_one() {
    let variables = [("AWS_REGION", "us-east-1"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_SESSION_TOKEN", "t")];
    let config = parse("", &variables).unwrap();
    let sigv4::Keys::Each { token, .. } = &signing(&config, "bedrock").keys else { panic!("no variables are used") };
    assert_eq!(*token, Some(env("AWS_SESSION_TOKEN")));
}

#[test]
fn without_variables_the_keys_are_those_of_awss_shared_file() {
    let config = parse("", &[("AWS_REGION", "us-east-1"), ("AWS_PROFILE", "work")]).unwrap();
    assert_eq!(signing(&config, "bedrock").keys, sigv4::Keys::Profile(sigv4::Profile::default()));
    assert_eq!(urls(&config, "bedrock"), [US]);
}

#[test]
fn a_bearer_key_goes_before_a_signature() {
    let config = parse("", &[("AWS_REGION", "us-east-1"), ("AWS_BEARER_TOKEN_BEDROCK", "k")]).unwrap();
    let bedrock = &config.policy.credentials["bedrock"];
    assert_eq!(bedrock.kind, Sort::Key(env("AWS_BEARER_TOKEN_BEDROCK")));
    assert_eq!(urls(&config, "bedrock"), [US]);
}

#[test]
fn without_a_region_nothing_is_signed_and_nothing_is_allowed() {
    let config = parse("", &[]).unwrap();
    assert!(urls(&config, "bedrock").is_empty());
    assert!(config.destinations.built_in.iter().all(|there| !there.origin.host().contains("bedrock")));
}

#[test]
fn the_file_says_the_region_louder_than_the_environment() {
    let config = parse("[providers.bedrock]\nregion = \"eu-central-1\"\n", &[("AWS_REGION", "us-east-1")]).unwrap();
    assert_eq!(signing(&config, "bedrock").region, "eu-central-1");
    assert_eq!(urls(&config, "bedrock"), [EU]);
}

#[test]
fn a_model_in_another_region_is_signed_for_that() {
    let model = "[models.eu]\nprovider = \"bedrock\"\nmodel = \"m\"\nregion = \"eu-central-1\"\n";
    for variables in [&[("AWS_REGION", "us-east-1")][..], &[]] {
        let config = parse(model, variables).unwrap();
        assert_eq!(config.table.models["eu"].credential.as_deref(), Some("bedrock.eu-central-1"));
        assert_eq!(signing(&config, "bedrock.eu-central-1").region, "eu-central-1");
        assert_eq!(urls(&config, "bedrock.eu-central-1"), [EU]);
        assert!(config.destinations.written.iter().any(|there| EU.ends_with(there.origin.host())));
    }
    let same = parse(model, &[("AWS_REGION", "eu-central-1")]).unwrap();
    assert_eq!(same.table.models["eu"].credential, None);
    // What is written may be called, whatever the environment says.
    assert!(same.destinations.written.iter().any(|there| EU.ends_with(there.origin.host())));
}

#[test]
fn a_written_credential_is_used_as_it_is_written() {
    let credential = "[credentials.bedrock]\nkind = \"sigv4\"\naccess_key = { env = \"A\" }\nsecret_key = { env = \"B\" }\n\
        region = \"eu-central-1\"\nservice = \"bedrock\"\n";
    let model = |region: &str| format!("[models.m]\nprovider = \"bedrock\"\nmodel = \"m\"\nregion = \"{region}\"\n");
    let config = parse(&format!("{credential}{}", model("eu-central-1")), &[]).unwrap();
    assert_eq!(config.table.models["m"].credential, None);
    assert_eq!(urls(&config, "bedrock"), [EU]);
    let narrow = format!("{credential}urls = [\"http://127.0.0.1:9\"]\n{}", model("eu-central-1"));
    assert_eq!(urls(&parse(&narrow, &[]).unwrap(), "bedrock"), ["http://127.0.0.1:9"]);
    let other = parse(&format!("{credential}{}", model("us-east-1")), &[]).unwrap_err();
    assert!(other.contains("`models.m.region`") && other.contains("signs for eu-central-1"), "{other}");
}

#[test]
fn a_region_that_is_no_label_is_refused_by_name() {
    for (text, variables, named) in [
        ("[providers.bedrock]\nregion = \"x.evil.example/\"\n", &[][..], "`providers.bedrock.region`"),
        ("[models.m]\nprovider = \"bedrock\"\nmodel = \"m\"\nregion = \"a@b\"\n", &[], "`models.m.region`"),
        ("", &[("AWS_REGION", "x y")], "`providers.bedrock.region`"),
    ] {
        let error = parse(text, variables).unwrap_err();
        assert!(error.contains(named), "{error}");
    }
}

const VERTEX: &[(&str, &str)] = &[("VERTEXAI_PROJECT", "acme-1"), ("VERTEXAI_LOCATION", "europe-west4")];

#[test]
fn vertex_is_where_its_variables_say() {
    let config = parse("", VERTEX).unwrap();
    let home =
        "https://europe-west4-aiplatform.googleapis.com/v1/projects/acme-1/locations/europe-west4/publishers/google";
    assert_eq!(urls(&config, "vertex"), [home]);
    assert!(config.destinations.built_in.iter().any(|there| home.contains(there.origin.host())));
    let global = parse("[providers.vertex]\nregion = \"global\"\n", VERTEX).unwrap();
    let home = "https://aiplatform.googleapis.com/v1/projects/acme-1/locations/global/publishers/google";
    assert_eq!(urls(&global, "vertex"), [home]);
    let models = global.models();
    assert!(models.contains("\"project\":\"acme-1\"") && models.contains("\"region\":\"global\""), "{models}");
}

#[test]
fn vertex_without_a_project_may_go_nowhere() {
    let config = parse("", &[("VERTEXAI_LOCATION", "global")]).unwrap();
    assert!(urls(&config, "vertex").is_empty());
    assert!(config.destinations.built_in.iter().all(|there| !there.origin.host().contains("aiplatform")));
    let odd = parse("", &[("VERTEXAI_PROJECT", "a/../b"), ("VERTEXAI_LOCATION", "global")]).unwrap_err();
    assert!(odd.contains("`providers.vertex.project`"), "{odd}");
}

#[test]
fn a_command_tells_vertexs_token_where_vertex_is() {
    let file = "[credentials.vertex]\ncommand = [\"gcloud\", \"auth\", \"print-access-token\"]\nexpires = \"50m\"\n\
        [models.us]\nprovider = \"vertex\"\nmodel = \"gemini-2.5-flash\"\nregion = \"us-central1\"\n";
    let config = parse(file, VERTEX).unwrap();
    assert!(matches!(config.policy.credentials["vertex"].kind, Sort::Command(_)));
    let hosts: Vec<bool> = ["europe-west4", "us-central1"]
        .iter()
        .map(|region| urls(&config, "vertex").iter().any(|url| url.contains(&format!("https://{region}-aiplatform"))))
        .collect();
    assert_eq!(hosts, [true, true]);
    assert_eq!(config.table.models["us"].credential, None);
}
