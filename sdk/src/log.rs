//! Lines for the operator.

#[cfg_attr(
    not(target_arch = "wasm32"),
    expect(clippy::print_stderr, reason = "natively, the operator is whoever runs the test")
)]
#[doc(hidden)]
pub fn write(level: Level, text: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::guest::log(level as u32, text);
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!("{level:?}: {text}");
}

/// How much a line matters; the numbers are the ABI's.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub enum Level {
    Error = 1,
    Warn,
    Info,
    Debug,
}

/// Writes an error to the host's log, formatted as by [`format!`]. Lines are not part of the
/// state: a command that is replayed writes none.
#[macro_export]
macro_rules! error {
    ($($text:tt)+) => {
        $crate::internal::log($crate::internal::Level::Error, &::std::format!($($text)+))
    };
}

/// Writes a warning to the host's log; see [`error!`].
#[macro_export]
macro_rules! warn {
    ($($text:tt)+) => {
        $crate::internal::log($crate::internal::Level::Warn, &::std::format!($($text)+))
    };
}

/// Writes a line to the host's log; see [`error!`].
#[macro_export]
macro_rules! info {
    ($($text:tt)+) => {
        $crate::internal::log($crate::internal::Level::Info, &::std::format!($($text)+))
    };
}

/// Writes a line for debugging to the host's log; see [`error!`].
#[macro_export]
macro_rules! debug {
    ($($text:tt)+) => {
        $crate::internal::log($crate::internal::Level::Debug, &::std::format!($($text)+))
    };
}
