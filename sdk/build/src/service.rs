//! From the services of a `.proto` to Rust traits.

use std::collections::{BTreeMap, BTreeSet};

use prost_build::{Comments, Method, Service, ServiceGenerator};
use protox::prost_reflect::{DescriptorPool, MethodDescriptor, Value};
use quorate_abi::method_id;

use crate::Error;
use crate::calls::Calls;

/// The method option that tells queries from commands, and the number of `QUERY`.
const KIND_OPTION: &str = "quorate.v1.kind";
const KIND_QUERY: i32 = 1;

/// Writes one trait per service. Its methods' first argument carries the rule: only a
/// `&mut Command` can write.
pub(crate) struct Traits {
    queries: BTreeSet<String>,
}

impl Traits {
    /// Refuses what no plugin can implement. Generators cannot fail, so this comes first.
    pub(crate) fn check(pool: &DescriptorPool) -> Result<Self, Error> {
        let mut paths = BTreeMap::new();
        let mut queries = BTreeSet::new();
        for method in pool.services().flat_map(|s| s.methods().collect::<Vec<_>>()) {
            if method.is_client_streaming() || method.is_server_streaming() {
                return Err(Error::Streaming { method: method.full_name().to_owned() });
            }
            let path = format!("{}/{}", method.parent_service().full_name(), method.name());
            if is_query(pool, &method) {
                queries.insert(path.clone());
            }
            if let Some(one) = paths.insert(method_id(&path), path.clone()) {
                return Err(Error::SameId { one, other: path });
            }
        }
        if paths.is_empty() { Err(Error::NoMethods) } else { Ok(Self { queries }) }
    }
}

/// Read by reflection: prost's types drop the extensions of options.
fn is_query(pool: &DescriptorPool, method: &MethodDescriptor) -> bool {
    let kind = pool.get_extension_by_name(KIND_OPTION);
    kind.is_some_and(|kind| {
        method.options().get_extension(&kind).as_ref() == &Value::EnumNumber(KIND_QUERY)
    })
}

impl ServiceGenerator for Traits {
    fn generate(&mut self, service: Service, code: &mut String) {
        let path = format!("{}.{}", service.package, service.proto_name);
        let mut functions = String::new();
        let mut table = String::new();
        let mut calls = Calls::default();
        for method in &service.methods {
            let path = format!("{path}/{}", method.proto_name);
            let (kind, context) = if self.queries.contains(&path) {
                ("query", "&::quorate_sdk::Query<'_>")
            } else {
                ("command", "&mut ::quorate_sdk::Command<'_>")
            };
            functions.push_str(&function(method, &path, context));
            table.push_str(&entry(method, &path, kind));
            calls.add(method, &path, kind);
        }

        let comments = doc(&service.comments, &format!("The service `{path}`."));
        let calls = calls.generate(&service.name, &path);
        let service = format!(
            "{comments}
            pub trait {} {{
                {functions}
                /// What the host may call; not for plugins to define.
                #[doc(hidden)]
                const METHODS: &'static [::quorate_sdk::Method] = &[{table}];
            }}
            {calls}\n",
            service.name
        );
        code.push_str(&service);
    }
}

/// The declaration of one method.
fn function(method: &Method, path: &str, context: &str) -> String {
    format!(
        "{}
        fn {}(cx: {context}, request: {})
            -> ::core::result::Result<{}, ::quorate_sdk::Status>;\n",
        doc(&method.comments, &format!("The method `{path}`.")),
        method.name,
        method.input_type,
        method.output_type
    )
}

/// Its line in the table that calls are dispatched by.
fn entry(method: &Method, path: &str, kind: &str) -> String {
    format!(
        "::quorate_sdk::Method::{kind}({path:?}, |cx, request| {{
            let request = ::quorate_sdk::Method::request(request, {:?})?;
            Self::{}(cx, request).map(|reply| ::quorate_sdk::Method::reply(&reply))
        }}),",
        method.input_proto_type.trim_start_matches('.'),
        method.name
    )
}

/// The comment from the `.proto`, or a line in its place.
pub(crate) fn doc(comments: &Comments, otherwise: &str) -> String {
    if comments.leading.is_empty() {
        return format!("/// {otherwise}\n");
    }
    let mut doc = String::new();
    comments.append_with_indent(0, &mut doc);
    doc
}
