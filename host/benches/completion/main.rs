//! What one completion costs: a table from one run, medians over rounds that take turns, with ratios to hyper's bare
//! connection.
//!
//! The upstream runs in a process of its own, so that the CPU time of this one is the client's alone. `cargo bench`
//! prints everything; `cargo bench -- small` only the tables whose name has the word, `cargo bench -- small row=reused`
//! of those only the rows whose name has the other, which is what a profiler wants to see.
//!
//! With `SEAWAY_LEAST=FILE` the first table has two rows more: what a component costs that does nothing but the exchange.
//! `cargo build -p seaway-tests --example least --profile guest --target wasm32-wasip2` builds it.

mod allocator;
mod measure;
mod memory;
mod requests;
mod rows;
mod upstream;

fn main() {
    if std::env::args().any(|argument| argument == "--upstream") {
        return upstream::serve();
    }
    let arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let (rows, words): (Vec<String>, Vec<String>) = arguments.partition(|argument| argument.starts_with("row="));
    let row = rows.first().map_or("", |row| &row["row=".len()..]);
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let upstream = upstream::Upstream::start();
    for table in rows::tables() {
        if wanted(table.name) {
            table.print(&upstream, row);
        }
    }
    if wanted("memory") {
        memory::print(&upstream);
    }
}
