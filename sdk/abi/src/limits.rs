//! The host's limits, as far as a plugin can run into them. A call that does is rolled back and
//! answered with `RESOURCE_EXHAUSTED`; a plugin may refuse earlier and in its own words.

/// Bytes of a key in the store. With the SDK: the collection's name, one byte, and the encoded key.
pub const KEY_BYTES_MAX: usize = 4 * 1024;

/// Bytes of a value in the store.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of an encoded reply.
pub const REPLY_BYTES_MAX: usize = 4 * 1024 * 1024;
