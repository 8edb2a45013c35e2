//! What a component's decoding costs: the same bytes read natively and in WebAssembly, in turns, dialect by dialect.
//!
//! `SEAWAY_DECODE` names the component, which
//! `cargo build -p seaway-guest --example decode --profile guest --target wasm32-wasip2` builds.

#[path = "../../../guest/examples/decode.rs"]
#[expect(dead_code, unreachable_pub, reason = "it is a program of its own, too")]
mod decode;

use std::time::Duration;

use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Config, Engine, Store};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    Error as Code, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

/// Rounds that take turns; the medians are printed.
const ROUNDS: usize = 7;
const TIMES: usize = 40_000;

fn main() {
    let Some(file) = std::env::var_os("SEAWAY_DECODE") else {
        println!("SEAWAY_DECODE names no component; the head of this benchmark says how one is built");
        return;
    };
    let guest = Guest::load(&std::fs::read(file).expect("a component"));
    println!("{:<12}{:<8}{:>14}{:>14}{:>8}   (ns of CPU time each)", "", "", "native", "component", "x");
    for kind in ["stream", "whole"] {
        for dialect in decode::dialects() {
            let (mut natives, mut components) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                natives.push(cpu(|| {
                    std::hint::black_box(decode::run(dialect, kind, TIMES));
                }));
                let started = cpu(|| guest.run(dialect, kind, 0));
                components.push(cpu(|| guest.run(dialect, kind, TIMES)).saturating_sub(started));
            }
            let each = |times: &mut Vec<Duration>| {
                times.sort();
                times[ROUNDS / 2].as_secs_f64() * 1e9 / TIMES as f64
            };
            let (native, component) = (each(&mut natives), each(&mut components));
            println!("{dialect:<12}{kind:<8}{native:>14.0}{component:>14.0}{:>8.2}", component / native);
        }
    }
}

/// CPU time of this thread for a piece of work.
fn cpu(work: impl FnOnce()) -> Duration {
    let now = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let begin = now();
    work();
    let end = now();
    Duration::try_from(end - begin).expect("time goes on")
}

/// A command that decodes.
struct Guest {
    engine: Engine,
    pre: CommandPre<State>,
    runtime: tokio::runtime::Runtime,
}

struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    nowhere: Nowhere,
    table: ResourceTable,
}

/// The guest's way out is linked in, and never taken.
struct Nowhere;

type Finished = Box<dyn Future<Output = Result<(), Code>> + Send>;
type Answer = Result<(http::Response<WasiBody>, Finished), Code>;

impl WasiHttpHooks for Nowhere {
    fn send_request(
        &mut self,
        _request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _transmitted: Finished,
    ) -> Box<dyn Future<Output = Answer> + Send> {
        unreachable!("decoding sends nothing")
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.nowhere, table: &mut self.table, ctx: &mut self.http }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl Guest {
    /// Compiled as the host compiles its own.
    fn load(bytes: &[u8]) -> Self {
        let engine = Engine::new(Config::new().epoch_interruption(true)).expect("an engine");
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).expect("WASI");
        wasmtime_wasi::p3::add_to_linker(&mut linker).expect("WASI");
        wasmtime_wasi_http::p3::add_to_linker(&mut linker).expect("WASI");
        let component = Component::new(&engine, bytes).expect("a component");
        let pre = linker.instantiate_pre(&component).and_then(CommandPre::new).expect("a command");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        Self { engine, pre, runtime }
    }

    fn run(&self, dialect: &str, kind: &str, times: usize) {
        let arguments = ["decode", dialect, kind, &times.to_string()];
        let wasi = WasiCtxBuilder::new().args(&arguments).build();
        let state = State { wasi, http: WasiHttpCtx::new(), nowhere: Nowhere, table: ResourceTable::new() };
        let mut store = Store::new(&self.engine, state);
        store.set_epoch_deadline(u64::MAX / 2);
        self.runtime.block_on(async {
            let command = self.pre.instantiate_async(&mut store).await.expect("an instance");
            command.wasi_cli_run().call_run(&mut store).await.expect("no trap").expect("an end");
        });
    }
}
