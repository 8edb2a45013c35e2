//! `seaway models`: who can be asked, as a person and as a script reads it.

use seaway_tests::error::SECRET;
use seaway_tests::program::{Program, Said};
use serde_json::{Value, json};

const FILE: &str = r#"
[providers.corp]
dialect = "openai"
base_url = "https://llm.corp.example/v1"
[credentials.corp]
file = "corp-key"
[credentials.vertex]
command = ["gcloud-of-a-test", "auth", "print-access-token"]
[models.fast]
provider = "corp"
model = "llama-3.3-70b"
[models.eu]
provider = "bedrock"
model = "us.amazon.nova-micro-v1:0"
region = "eu-central-1"
"#;

/// The line that begins with a name, its columns apart.
fn row(said: &Said, name: &str) -> Vec<String> {
    let line = said.out.lines().find(|line| line.split_whitespace().next() == Some(name));
    let line = line.unwrap_or_else(|| panic!("`{name}` is not in: {}", said.out));
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
}

/// Without a file: every built-in row, what it needs, and which variable moved it. No column runs into the next.
#[tokio::test]
async fn models_lists_the_providers_without_a_file() {
    let program = Program::new().variable("OPENAI_API_KEY", SECRET).variable("GROQ_BASE_URL", "http://127.0.0.1:9/v1/");
    let said = program.run(&["models"]).await.fine();
    assert_eq!(said.err, "file: none; the built-in defaults hold\n");
    for (name, columns) in [
        ("openai", ["openai", "OPENAI_API_KEY: set", "https://api.openai.com/v1"]),
        ("groq", ["openai", "GROQ_API_KEY: not set", "http://127.0.0.1:9/v1 (from GROQ_BASE_URL)"]),
        ("ollama", ["ollama", "none needed", "http://127.0.0.1:11434 (local)"]),
        ("azure", ["openai", "AZURE_API_KEY: not set", "none: set AZURE_API_BASE"]),
        ("anthropic", ["anthropic", "ANTHROPIC_API_KEY: not set", "https://api.anthropic.com/v1"]),
    ] {
        assert_eq!(row(&said, name)[1..], columns, "{name}");
    }
    let starts: Vec<_> = said.out.lines().map(|line| line.find("  http").or_else(|| line.find("  base URL"))).collect();
    assert!(starts.iter().flatten().all(|start| Some(*start) == starts[0]), "not aligned: {}", said.out);
    assert!(!said.out.contains(['\x1b', '\t']) && !said.out.contains(SECRET), "{}", said.out);
}

/// With a file: which one, its own providers and models, and where each key would come from. No command is run for that.
#[tokio::test]
async fn models_lists_what_the_file_says() {
    let program = Program::new().file("corp.toml", FILE).file("corp-key", SECRET);
    let program = program.file("aws", format!("[work]\naws_access_key_id = AKID\naws_secret_access_key = {SECRET}\n"));
    let aws = program.folder().path().join("aws");
    let program =
        program.variable("AWS_SHARED_CREDENTIALS_FILE", aws.to_str().unwrap()).variable("AWS_PROFILE", "work");
    let program = program.variable("AWS_REGION", "us-east-1");
    let said = program.run(&["models", "--config", "corp.toml"]).await.fine();
    assert_eq!(said.err, "file: corp.toml\n");
    assert_eq!(row(&said, "corp")[1..], ["openai", "file corp-key: there", "https://llm.corp.example/v1"]);
    assert_eq!(row(&said, "vertex")[1..], ["gemini", "command gcloud-of-a-test", "none: set VERTEXAI_LOCATION"]);
    let us = "https://bedrock-runtime.us-east-1.amazonaws.com";
    assert_eq!(row(&said, "bedrock")[1..], ["bedrock", "AWS profile work: there", us]);
    assert_eq!(row(&said, "fast")[1..], ["corp", "llama-3.3-70b"]);
    assert_eq!(
        row(&said, "eu")[1..],
        ["bedrock", "us.amazon.nova-micro-v1:0", &us.replace("us-east-1", "eu-central-1")]
    );
    assert!(!said.out.contains(SECRET), "{}", said.out);
}

/// `--json` is the same for scripts, and `--provider` one provider of it.
#[tokio::test]
async fn models_prints_json_for_scripts() {
    let program = Program::new().file("seaway.toml", FILE).variable("OPENAI_API_KEY", SECRET);
    let read = async |arguments: &[&str]| {
        let said = program.run(arguments).await.fine();
        assert_eq!(said.err, "");
        serde_json::from_str::<Value>(&said.out).unwrap()
    };
    let all = read(&["models", "--json"]).await;
    assert_eq!(all["file"], "seaway.toml");
    let openai = all["providers"].as_array().unwrap().iter().find(|provider| provider["name"] == "openai").unwrap();
    let key =
        json!({ "credential": "openai", "source": "variable", "name": "OPENAI_API_KEY", "file": null, "set": true });
    assert_eq!((&openai["key"], &openai["local"]), (&key, &json!(false)));
    let corp = read(&["models", "--json", "--provider", "corp"]).await;
    let wanted = json!({
        "file": "seaway.toml",
        "providers": [{
            "name": "corp", "dialect": "openai", "base_url": "https://llm.corp.example/v1", "moved_by": null,
            "missing": null, "local": false, "default_model": null,
            "key": { "credential": "corp", "source": "file", "name": null, "file": "corp-key", "set": false },
        }],
        "models": [
            { "name": "fast", "provider": "corp", "model": "llama-3.3-70b", "base_url": null, "credential": null },
        ],
    });
    assert_eq!(corp, wanted);
}

/// Bad input: a provider that is none, a file that is none, and a model of nobody's.
#[tokio::test]
async fn models_says_what_is_wrong() {
    let words = ["there is no provider `opnai`", "hint: `seaway models`"];
    Program::new().run(&["models", "--provider", "opnai"]).await.assert_fails(2, &words);
    Program::new().run(&["models", "--config", "gone.toml"]).await.assert_fails(2, &["gone.toml", "cannot be read"]);
    let typo = Program::new().file("seaway.toml", "[models.m]\nprovidr = \"openai\"\n");
    typo.run(&["models"]).await.assert_fails(2, &["seaway.toml:2", "`models.m.provider`"]);
    let odd = "[models.\"a\\u001bb\"]\nprovider = \"nobody\"\nmodel = \"x\"\n";
    let said = Program::new().file("seaway.toml", odd).run(&["models"]).await;
    said.assert_fails(2, &["seaway.toml: ", "model `a\\u{1b}b`: there is no provider `nobody`"]);
    assert!(!said.err.contains('\x1b'), "{said:?}");
}

/// The README's table is the one that the binary has.
#[tokio::test]
async fn the_readme_names_every_provider_beside_its_dialect() {
    let said = Program::new().run(&["models", "--json"]).await.fine();
    let listing: Value = serde_json::from_str(&said.out).unwrap();
    let readme = include_str!("../README.md");
    for provider in listing["providers"].as_array().unwrap() {
        let (name, dialect) = (provider["name"].as_str().unwrap(), provider["dialect"].as_str().unwrap());
        let line = readme.lines().find(|line| line.starts_with(&format!("| `{dialect}` | ")));
        let line = line.unwrap_or_else(|| panic!("the README has no line for `{dialect}`"));
        let words = |character: char| !character.is_ascii_alphanumeric() && character != '-';
        assert!(line.split(words).any(|word| word == name), "`{name}` is not in: {line}");
    }
}
