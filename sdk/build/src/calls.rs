//! From the services of a `.proto` to what calls them from outside: see `quorate_sdk::Caller`.
//! None of it gets into modules.

use prost_build::Method;

use crate::service::doc;

const NATIVE: &str = "#[cfg(not(target_arch = \"wasm32\"))]";

/// The pieces of generated items, as methods are added.
#[derive(Default)]
pub(crate) struct Calls {
    declarations: Vec<String>,
    definitions: Vec<String>,
    call_variants: Vec<String>,
    answer_variants: Vec<String>,
    arms: Vec<String>,
}

impl Calls {
    /// Adds a method of that path and kind, `command` or `query`.
    pub(crate) fn add(&mut self, method: &Method, path: &str, kind: &str) {
        let Method { name, proto_name, input_type, output_type, .. } = method;
        let comments = doc(&method.comments, &format!("The method `{path}`."));
        let function = format!(
            "fn {name}(&mut self, request: {input_type})
                -> ::core::result::Result<{output_type}, ::quorate_sdk::Status>"
        );
        self.declarations.push(format!("{comments}{function};\n"));
        self.definitions.push(format!(
            "{function} {{
                let method = const {{ ::quorate_sdk::MethodPath::{kind}({path:?}) }};
                ::quorate_sdk::Caller::call(self, method, &request)
            }}\n"
        ));
        self.call_variants.push(format!("/// `{path}`.\n{proto_name}({input_type}),\n"));
        self.answer_variants.push(format!("/// `{path}`.\n{proto_name}({output_type}),\n"));
        self.arms
            .push(format!("Self::{proto_name}(it) => Answer::{proto_name}(callee.{name}(it)?),\n"));
    }

    /// The trait, its implementation for all callers, and the two enumerations.
    pub(crate) fn generate(self, service: &str, path: &str) -> String {
        let [declarations, definitions, call_variants, answer_variants, arms] = [
            self.declarations,
            self.definitions,
            self.call_variants,
            self.answer_variants,
            self.arms,
        ]
        .map(|items| items.concat());
        format!(
            "/// Calls of the service `{path}`, on whoever answers: a test's machine, or its model.
            {NATIVE}
            pub trait {service}Calls {{
                {declarations}
            }}

            {NATIVE}
            impl<C: ::quorate_sdk::Caller> {service}Calls for C
            where
                C::Plugin: {service},
            {{
                {definitions}
            }}

            /// A call of any method of the service `{path}`.
            {NATIVE}
            #[derive(Clone, Debug, PartialEq)]
            pub enum {service}Call {{
                {call_variants}
            }}

            /// A reply of any method of the service `{path}`.
            {NATIVE}
            #[derive(Clone, Debug, PartialEq)]
            pub enum {service}Answer {{
                {answer_variants}
            }}

            {NATIVE}
            impl ::quorate_sdk::Call for {service}Call {{
                type Answer = {service}Answer;
            }}

            {NATIVE}
            impl<C: {service}Calls> ::quorate_sdk::CallOn<C> for {service}Call {{
                fn call_on(
                    self,
                    callee: &mut C,
                ) -> ::core::result::Result<{service}Answer, ::quorate_sdk::Status> {{
                    use {service}Answer as Answer;
                    ::core::result::Result::Ok(match self {{
                        {arms}
                    }})
                }}
            }}\n"
        )
    }
}
