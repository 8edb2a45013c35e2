//! What one completion costs: a table from one run, medians over rounds that take turns, with ratios to hyper's bare
//! connection.
//!
//! The upstream runs in a process of its own, so that the CPU time of this one is the client's alone. `cargo bench`
//! prints everything; `cargo bench -- small` only the tables whose name has the word, `cargo bench -- small row=reused`
//! of those only the rows whose name has the other, and with `calls=100000` so many calls a round: what a profiler wants.
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
    let (options, words): (Vec<String>, Vec<String>) = arguments.partition(|argument| argument.contains('='));
    let option = |name| options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
    let row = option("row").unwrap_or_default();
    let calls = option("calls").map(|calls| calls.parse().expect("a number of calls"));
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let upstream = upstream::Upstream::start();
    for mut table in rows::tables() {
        table.calls = calls.unwrap_or(table.calls);
        if wanted(table.name) {
            table.print(&upstream, row);
        }
    }
    if wanted("memory") {
        memory::print(&upstream);
    }
}
