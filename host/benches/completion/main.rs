//! What one completion costs: a table from one run, medians over rounds that take turns, with ratios to hyper's bare
//! connection.
//!
//! The upstream runs in a process of its own, so that the CPU time of this one is the client's alone. `cargo bench`
//! prints everything; `cargo bench -- small` only the tables whose name has the word.

mod measure;
mod memory;
mod requests;
mod rows;
mod upstream;

fn main() {
    if std::env::args().any(|argument| argument == "--upstream") {
        return upstream::serve();
    }
    let words: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let upstream = upstream::Upstream::start();
    for table in rows::tables() {
        if wanted(table.name) {
            table.print(&upstream);
        }
    }
    if wanted("memory") {
        memory::print(&upstream);
    }
}
