//! A limit is in use: one that nobody asks for bounds nothing.

use crate::{Source, has_word};

/// Where limits are defined; to name one there is not to use it.
const FILES: [&str; 2] = ["host/core/src/limits.rs", "sdk/abi/src/limits.rs"];

/// Every limit is named by other code than that which defines it.
pub fn in_use(sources: &[Source]) -> Vec<String> {
    let is_definition = |source: &&Source| FILES.contains(&source.path.as_str());
    let mut broken = Vec::new();
    for source in sources.iter().filter(is_definition) {
        for (number, code) in source.code() {
            let Some(name) = constant(code) else { continue };
            let is_used = sources
                .iter()
                .filter(|source| source.is_rust() && !is_definition(source))
                .any(|source| source.code().any(|(_, code)| has_word(code, name)));
            if !is_used {
                broken.push(source.at(number, format_args!("nothing uses {name}")));
            }
        }
    }
    broken
}

fn constant(code: &str) -> Option<&str> {
    let (name, _) = code.strip_prefix("pub const ")?.split_once(':')?;
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_nobody_asks_for() {
        let limits = Source::new(
            FILES[0],
            "//! Limits.\nconst KIB: usize = 1024;\npub const KEY_MAX: usize = KIB;\n\
             const _: () = assert!(KEY_MAX > 1);\n",
        );
        let expected = ["host/core/src/limits.rs:3: nothing uses KEY_MAX"];
        for unused in ["", "// KEY_MAX\n", "const KEY_MAXIMUM: usize = 1;\n"] {
            assert_eq!(in_use(&[limits.clone(), Source::new("a.rs", unused)]), expected);
        }
        let user = Source::new("host/src/a.rs", "let max = limits::KEY_MAX;\n");
        assert!(in_use(&[limits, user]).is_empty());
    }
}
