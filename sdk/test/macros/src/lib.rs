//! The attributes of `quorate-test`: each leaves its item as it is, and adds a module of the same
//! name with a test for each fidelity.
//!
//! What this deliberately does not do: look into the item further than for its name. The compiler
//! says what is wrong with the rest, at its place.

use proc_macro::{TokenStream, TokenTree};

/// The fidelities, and the order in which their tests are listed.
const FIDELITIES: [&str; 3] = ["native", "wasm", "cluster"];

/// Makes tests of a function that takes a `&mut Machine<P>`, one for each fidelity that is named,
/// or for all three.
#[proc_macro_attribute]
pub fn test(fidelities: TokenStream, item: TokenStream) -> TokenStream {
    let name = word_after(&item, "fn").ok_or("this goes before a function");
    expand(&fidelities, item, "test", name.map(|name| (name.clone(), name)))
}

/// Makes tests of an implementation of `Model`, one for each fidelity that is named, or for all
/// three.
#[proc_macro_attribute]
pub fn model(fidelities: TokenStream, item: TokenStream) -> TokenStream {
    let name = word_after(&item, "for").ok_or("this goes before an `impl Model for` a type");
    expand(&fidelities, item, "model", name.map(|name| (snake_case(&name), name)))
}

/// The item, and the module with its tests; `of` is the name of the module, and what is tested.
fn expand(
    fidelities: &TokenStream,
    item: TokenStream,
    kind: &str,
    of: Result<(String, String), &str>,
) -> TokenStream {
    let tests = of.map_err(str::to_owned).and_then(|(module, tested)| {
        let tests: Vec<String> = chosen(fidelities)?
            .into_iter()
            .map(|fidelity| {
                let place = "::quorate_test::internal::Place { \
                             package: env!(\"CARGO_PKG_NAME\"), module: module_path!() }";
                let tested = match kind {
                    "test" => format!("test({place}, \"{fidelity}\", super::{tested})"),
                    _ => format!("model::<super::{tested}>({place}, \"{fidelity}\")"),
                };
                format!(
                    "#[::core::prelude::v1::test]
                     fn {fidelity}() {{ ::quorate_test::internal::{tested} }}"
                )
            })
            .collect();
        Ok(format!("#[cfg(test)] mod {module} {{ {} }}", tests.concat()))
    });
    let added = tests.unwrap_or_else(|problem| format!("::core::compile_error!({problem:?});"));
    let added: TokenStream = added.parse().expect("what is generated has the form of Rust");
    [item, added].into_iter().collect()
}

/// The fidelities that an attribute names.
fn chosen(fidelities: &TokenStream) -> Result<Vec<&'static str>, String> {
    let text = fidelities.to_string();
    let named: Vec<_> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if let Some(unknown) = named.iter().find(|name| !FIDELITIES.contains(name)) {
        return Err(format!("there is no fidelity {unknown}: native, wasm and cluster there are"));
    }
    Ok(FIDELITIES.into_iter().filter(|name| named.is_empty() || named.contains(name)).collect())
}

/// The identifier that follows a keyword at the item's own level.
fn word_after(item: &TokenStream, keyword: &str) -> Option<String> {
    let mut words = item.clone().into_iter().skip_while(
        |token| !matches!(token, TokenTree::Ident(word) if word.to_string() == keyword),
    );
    match words.nth(1) {
        Some(TokenTree::Ident(word)) => Some(word.to_string()),
        _ => None,
    }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}
