//! The SDK as a plugin uses it, on the native state.

mod collections;
mod costs;
mod dispatch;
mod indexed;
mod models;
mod pages;
