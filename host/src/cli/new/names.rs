//! A plugin's name in all of its forms, and where a template has its own instead.
//!
//! What this deliberately does not do: parse Rust. A template's names are found by what stands
//! around them; a template that needs more fails the test that makes a crate of it.

use std::collections::BTreeSet;

use super::template::Template;

const NAME_CHARS_MAX: usize = 40;

/// Names that a crate cannot have, or its package.
const RESERVED: [&str; 60] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "google",
    "grpc",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "package",
    "priv",
    "proc_macro",
    "pub",
    "quorate",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// What is in every Rust file without being named there.
const PRELUDE: [&str; 24] = [
    "AsMut", "AsRef", "Box", "Clone", "Copy", "Default", "Drop", "Eq", "Err", "Fn", "From", "Into",
    "Iterator", "None", "Ok", "Option", "Ord", "Plugin", "Result", "Self", "Send", "Some",
    "String", "Vec",
];

/// What the new crate's things are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// The package, as it was asked for: `ticket-desk`.
    pub(super) package: String,
    /// The library, the folders of the `.proto`, and its package: `ticket_desk`.
    pub(super) library: String,
    /// The service, and its trait: `TicketDesk`.
    pub(super) service: String,
    /// From the template's names to these; the longest ones come first.
    replacements: Vec<Replacement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Replacement {
    from: String,
    to: String,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In all files, comments included.
    Anywhere,
    /// Not in comments, nor in what is for people to read.
    Code,
}

impl Names {
    /// The names that follow from one; or why it is no name for a plugin made from that template.
    pub(super) fn new(name: &str, template: &Template) -> Result<Self, String> {
        let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
        let parts: Vec<&str> = name.split(['-', '_']).collect();
        let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
        if !begins || !name.chars().all(is_letter) || parts.contains(&"") {
            return Err("a plugin's name is small letters and digits, in words that are joined \
                        by a - or _ each, such as ticket-desk"
                .to_owned());
        }
        if name.len() > NAME_CHARS_MAX {
            return Err(format!("a plugin's name has {NAME_CHARS_MAX} characters at the most"));
        }
        let library = parts.join("_");
        if RESERVED.contains(&library.as_str()) || library.starts_with("quorate_") {
            return Err("that name is taken by Rust or by Quorate; choose another".to_owned());
        }
        let service: String = parts.iter().map(|part| capitalized(part)).collect();
        if library != template.name && uses(template, &library, &service) {
            return Err(format!(
                "the template {} uses {library} or {service} for something else; choose another \
                 name",
                template.name
            ));
        }
        let package = name.to_owned();
        let replacements = replacements(template, [&package, &library, &service]);
        Ok(Self { package, library, service, replacements })
    }

    /// The service as clients name it.
    pub(super) fn service_path(&self) -> String {
        format!("{}.v1.{}", self.library, self.service)
    }

    /// Where a file of the template belongs.
    pub(super) fn path(&self, path: &str) -> String {
        self.replace(path, |_| true)
    }

    /// What is in a file of the template, under these names.
    pub(super) fn text(&self, path: &str, text: &str) -> String {
        let is_code = ["rs", "proto"].contains(&extension(path));
        let mut out = String::with_capacity(text.len() + text.len() / 8);
        for (number, line) in text.split_inclusive('\n').enumerate() {
            // A title is a name and nothing else.
            if number == 0 && extension(path) == "md" && line.starts_with("# ") {
                out.extend(["# ", &self.package, "\n"]);
                continue;
            }
            let (code, comment) = line.split_at(line.find("//").unwrap_or(line.len()));
            out.push_str(&self.replace(code, |place| is_code || place == Place::Anywhere));
            out.push_str(&self.replace(comment, |place| place == Place::Anywhere));
        }
        out
    }

    /// One pass, so that nothing that was put in is replaced again.
    fn replace(&self, text: &str, is_wanted: impl Fn(Place) -> bool) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let before = out.chars().next_back();
            let found = self.replacements.iter().find(|replacement| {
                let after = rest.strip_prefix(&replacement.from);
                let is_whole =
                    after.is_some_and(|after| stands_alone(before, &replacement.from, after));
                is_whole && is_wanted(replacement.place)
            });
            if let Some(Replacement { from, to, .. }) = found {
                out.push_str(to);
                rest = &rest[from.len()..];
            } else {
                out.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
        out
    }
}

fn replacements(
    template: &Template,
    [package, library, service]: [&String; 3],
) -> Vec<Replacement> {
    let (old, old_service) = (template.name, template.service());
    let anywhere = [
        (format!("quorate-plugin-{old}"), package.clone()),
        (format!("{old}/v1/{old}.proto"), format!("{library}/v1/{library}.proto")),
        (format!("{old}.v1.{old_service}"), format!("{library}.v1.{service}")),
        (format!("{old}/v1"), format!("{library}/v1")),
        (format!("{old}.v1"), format!("{library}.v1")),
        (format!("{old}.wasm"), format!("{library}.wasm")),
        (format!("{old}::"), format!("{library}::")),
    ];
    // The trait, and what the build step makes beside it.
    let code = ["Calls", "Call", "Answer", ""]
        .map(|end| (format!("{old_service}{end}"), format!("{service}{end}")));
    let of = |place| move |(from, to)| Replacement { from, to, place };
    anywhere
        .into_iter()
        .map(of(Place::Anywhere))
        .chain(code.into_iter().map(of(Place::Code)))
        .collect()
}

/// Whether what was found is not a part of a longer name, nor of a longer path of Rust.
fn stands_alone(before: Option<char>, found: &str, after: &str) -> bool {
    let begins = |c: char| c.is_alphanumeric() || c == '_' || (c == ':' && found.ends_with("::"));
    let goes_on = |c: char| c.is_alphanumeric() || c == '_';
    let ends = found.ends_with("::") || !after.starts_with(goes_on);
    !before.is_some_and(begins) && ends
}

/// Whether the template's code has one of these names already, and so would mean two things by it.
fn uses(template: &Template, library: &str, service: &str) -> bool {
    let mut words = BTreeSet::from(PRELUDE);
    let mut paths = BTreeSet::new();
    for (path, text) in template.files {
        if !["rs", "proto"].contains(&extension(path)) {
            continue;
        }
        for line in text.lines() {
            let code = line.split("//").next().unwrap_or(line);
            words.extend(code.split(|c: char| !c.is_alphanumeric() && c != '_'));
            let module = code.trim_start().strip_prefix("mod ");
            paths.extend(module.map(|module| module.trim_end_matches([';', '{', ' '])));
        }
    }
    words.contains(service) || paths.contains(library)
}

fn extension(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(_, extension)| extension)
}

fn capitalized(part: &str) -> String {
    let mut chars = part.chars();
    chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::super::template;
    use super::*;

    fn names(name: &str, template: &str) -> Result<Names, String> {
        Names::new(name, template::find(template).unwrap())
    }

    #[test]
    fn a_name_has_three_forms() {
        let names = names("ticket-desk2", "counter").unwrap();
        assert_eq!((&*names.package, &*names.library), ("ticket-desk2", "ticket_desk2"));
        assert_eq!(names.service_path(), "ticket_desk2.v1.TicketDesk2");
        assert_eq!(
            names.path("proto/counter/v1/counter.proto"),
            "proto/ticket_desk2/v1/ticket_desk2.proto"
        );
        assert_eq!(names.path("tests/counter.rs"), "tests/counter.rs", "nothing else is hit");
    }

    #[test]
    fn a_name_that_cannot_be_is_refused_with_the_reason() {
        for (name, template, why) in [
            ("", "counter", "small letters"),
            ("..", "counter", "small letters"),
            ("Desk", "counter", "small letters"),
            ("2desk", "counter", "small letters"),
            ("a--b", "counter", "small letters"),
            ("a-", "counter", "small letters"),
            ("a b", "counter", "small letters"),
            ("straße", "counter", "small letters"),
            (&"a".repeat(41), "counter", "40 characters"),
            ("match", "counter", "taken by Rust"),
            ("std", "counter", "taken by Rust"),
            ("quorate-x", "counter", "taken by Rust"),
            ("map", "counter", "uses map or Map"),
            ("add-reply", "counter", "uses add_reply or AddReply"),
            ("counter", "lock", "uses counter or Counter"),
            ("option", "lock", "uses option or Option"),
            ("job", "queue", "uses job or Job"),
            ("basics", "kv", "uses basics or Basics"),
        ] {
            let refused = names(name, template).unwrap_err();
            assert!(refused.contains(why), "{name}: {refused}");
        }
    }

    #[test]
    fn only_the_plugins_own_names_are_replaced() {
        let names = names("my-counter", "counter").unwrap();
        let rust = "use counter::{Counter as _, Counters, CounterCall}; // Counter counter.v1";
        assert_eq!(
            names.text("a.rs", rust),
            "use my_counter::{MyCounter as _, Counters, MyCounterCall}; // Counter my_counter.v1"
        );
        for same in ["encounter::a", "a::counter::b", "counter", "\"counter\"", "counter_v1"] {
            assert_eq!(names.text("a.rs", same), same);
        }
        let shell = "quorate call A counter.v1.Counter/Add '{\"name\": \"Counter\"}'";
        assert_eq!(
            names.text("README.md", shell),
            "quorate call A my_counter.v1.MyCounter/Add '{\"name\": \"Counter\"}'"
        );
        assert_eq!(
            names.text("README.md", "# counter\nA counter.\n"),
            "# my-counter\nA counter.\n"
        );
    }

    #[test]
    fn a_template_under_its_own_name_is_itself() {
        for template in template::TEMPLATES {
            let names = Names::new(template.name, template).unwrap();
            // The manifest is written anew.
            for (path, text) in template.files.iter().filter(|(path, _)| *path != "Cargo.toml") {
                assert_eq!(names.path(path), *path);
                assert_eq!(names.text(path, text), *text, "{} {path}", template.name);
            }
        }
    }
}
