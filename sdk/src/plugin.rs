//! From the number of a method to the author's function.

use std::fmt;

use prost::Message;
use quorate_abi::{Frame, method_id};

use crate::store::Backend;
use crate::{Command, Query, Status};

/// A state machine with its services; implemented by [`plugin!`](crate::plugin).
pub trait Plugin {
    /// The methods of each service.
    const SERVICES: &'static [&'static [Method]];
    /// The folder of its crate, from which a test builds the module; empty where there is none.
    #[doc(hidden)]
    const CRATE_DIR: &'static str = "";
}

/// No services: for tests of something else.
impl Plugin for () {
    const SERVICES: &'static [&'static [Method]] = &[];
}

/// A method of a service, as the build step lists them. Not for plugins to use.
#[doc(hidden)]
pub struct Method {
    id: u32,
    handler: Handler,
}

type Reply = Result<Vec<u8>, Status>;
type OnCommand = fn(&mut Command<'_>, &[u8]) -> Reply;
type OnQuery = fn(&Query<'_>, &[u8]) -> Reply;

#[derive(Clone, Copy)]
enum Handler {
    Command(OnCommand),
    Query(OnQuery),
}

impl Method {
    /// A method that may write.
    pub const fn command(path: &str, handler: OnCommand) -> Self {
        Self { id: method_id(path), handler: Handler::Command(handler) }
    }

    /// A method that reads.
    pub const fn query(path: &str, handler: OnQuery) -> Self {
        Self { id: method_id(path), handler: Handler::Query(handler) }
    }

    /// Decodes a request of the named type.
    pub fn request<M: Message + Default>(bytes: &[u8], name: &str) -> Result<M, Status> {
        M::decode(bytes).map_err(|error| {
            Status::invalid_argument(format!("request is not a valid {name}: {error}"))
        })
    }

    /// Encodes a reply.
    pub fn reply(message: &impl Message) -> Vec<u8> {
        message.encode_to_vec()
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Method({:08x})", self.id)
    }
}

/// Runs a command: a call that may write.
pub(crate) fn command<P: Plugin>(store: &Backend, frame: &Frame<'_>) -> Reply {
    match handler::<P>(frame.method)? {
        Handler::Command(handler) => handler(&mut Command::new(store, frame), frame.payload),
        Handler::Query(_) => Err(Status::internal("a query was sent as a command")),
    }
}

/// Runs a query: a call that reads.
pub(crate) fn query<P: Plugin>(store: &Backend, frame: &Frame<'_>) -> Reply {
    match handler::<P>(frame.method)? {
        Handler::Query(handler) => handler(&Query::new(store, frame), frame.payload),
        Handler::Command(_) => Err(Status::internal("a command was sent as a query")),
    }
}

fn handler<P: Plugin>(id: u32) -> Result<Handler, Status> {
    let mut methods = P::SERVICES.iter().copied().flatten();
    methods
        .find(|method| method.id == id)
        .map(|method| method.handler)
        .ok_or_else(|| Status::unimplemented(format!("there is no method {id:08x}")))
}

/// Makes a plugin of a crate: takes in the messages and traits that the build step made of its
/// `.proto`, and on Wasm exports what the host calls.
///
/// ```ignore
/// quorate_sdk::plugin!(impl Kv for Store);            // or, with two services:
/// quorate_sdk::plugin!(impl Kv + Admin for Store);
/// ```
///
/// `Store` is a type of the crate that implements the traits `Kv` and `Admin`; usually a unit
/// struct, since state lives in collections. Once per crate, at its root.
#[macro_export]
macro_rules! plugin {
    (impl $service:ident $(+ $more:ident)* for $plugin:ty) => {
        #[allow(
            missing_docs,
            unused_qualifications,
            unused_lifetimes,
            clippy::all,
            clippy::pedantic,
            clippy::allow_attributes,
            reason = "generated from the .proto"
        )]
        mod api {
            include!(concat!(env!("OUT_DIR"), "/quorate_plugin.rs"));
        }
        pub use api::*;

        impl $crate::Plugin for $plugin {
            const SERVICES: &'static [&'static [$crate::Method]] =
                &[<$plugin as $service>::METHODS, $(<$plugin as $more>::METHODS),*];
            #[cfg(not(target_arch = "wasm32"))]
            const CRATE_DIR: &'static str = env!("CARGO_MANIFEST_DIR");
        }

        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "exports have fixed names; nothing unsafe is called")]
        const _: () = {
            const BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/quorate_manifest.bin"));

            // What the host learns without running the module: name, version, descriptors. Not
            // marked as used: that would put a second copy into memory.
            #[unsafe(link_section = "quorate_v1")]
            static _MANIFEST: [u8; BYTES.len()] = *BYTES.first_chunk().expect("it is all of it");

            #[unsafe(no_mangle)]
            extern "C" fn quorate_abi_v1() {}

            #[unsafe(no_mangle)]
            extern "C" fn quorate_apply() {
                $crate::internal::apply::<$plugin>();
            }

            #[unsafe(no_mangle)]
            extern "C" fn quorate_query() {
                $crate::internal::query::<$plugin>();
            }
        };
    };
}
