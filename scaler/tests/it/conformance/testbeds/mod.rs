//! The kinds of fleets, each with a way to create one and to interfere with it.

mod containers;
mod engine;
mod group;
mod processes;

use std::sync::Arc;

use super::Kind;
use tidegate_tests::Moto;

pub use group::create_group;

/// Kinds that any machine has; `moto` is the emulator that one of them calls.
pub fn here(moto: Arc<Moto>) -> Vec<Kind> {
    vec![
        Kind::new("fake", || async { group::Fake::new() }),
        Kind::new("processes", || async { processes::Processes::new() }),
        Kind::new("containers", || async { containers::Containers::new() }),
        Kind::new("moto", move || {
            let moto = Arc::clone(&moto);
            async { group::Emulated::new(moto) }
        }),
    ]
}

/// What a container engine is needed for.
pub fn in_engine() -> Vec<Kind> {
    vec![Kind::new("engine", || async { engine::Engine::new() })]
}
