//! The component's world as Rust types: generated, and used as they are. There is no second set of them in the host.

#![expect(missing_docs, reason = "generated: every item is documented in wit/completion.wit")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "seaway:completion/completer",
    exports: { default: async | store },
    with: {
        "wasi:http": wasmtime_wasi_http::p3::bindings::http,
        "wasi:clocks": wasmtime_wasi::p3::bindings::clocks,
    },
});
