//! All tests that need more than one crate: the session's nine words against real peers, then the component and the
//! binary. One file a word, in path order.

#[cfg(test)]
mod egress;
#[cfg(test)]
mod credentials;
#[cfg(test)]
mod pool;
#[cfg(test)]
mod dns;
#[cfg(test)]
mod tcp;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod wire;
#[cfg(test)]
mod body;
#[cfg(test)]
mod monitor;
#[cfg(test)]
mod origin;
#[cfg(test)]
mod retry;
#[cfg(test)]
mod swap;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod soak;
#[cfg(test)]
mod injection;
#[cfg(test)]
mod completion;
#[cfg(test)]
mod dialects;
#[cfg(test)]
mod serve;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod models;
