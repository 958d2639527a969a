//! The cloud on this machine: its tools, the emulator, the application deployed there, and its logs.

pub(crate) mod emulator;
pub(crate) mod logs;
pub(crate) mod painter;
pub(crate) mod run;
pub(crate) mod stack;
pub(crate) mod tools;
pub(crate) mod watch;
