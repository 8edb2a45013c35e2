//! Turns `providers.toml` into JSON.
//!
//! Before: cargo. After: `provider::table` includes the JSON. Invariant: what is written in the file arrives unchanged;
//! what its columns mean is the table's business, whose test reads every row.

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=providers.toml");
    let text = fs::read_to_string("providers.toml")?;
    let table: serde_json::Value = toml::from_str(&text).map_err(|error| format!("providers.toml: {error}"))?;
    let out = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    fs::write(Path::new(&out).join("providers.json"), table.to_string())?;
    Ok(())
}
