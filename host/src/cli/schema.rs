//! What a new version of a plugin changes about its `.proto` that breaks what the old one left
//! behind: values that it stored, and clients that were built with it.
//!
//! What this deliberately does not see: what a plugin stores that is no message, such as the types
//! of its collections' keys. And it does not know which messages are stored: each may be.

use std::fmt;

use prost_reflect::{
    DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, ServiceDescriptor,
};

use quorate_wasm::Manifest;

/// Packages that are not the plugin's.
const FOREIGN: [&str; 2] = ["google.protobuf", "quorate.v1"];

/// Whom a change breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Breaks {
    /// What was stored, and clients too.
    State,
    /// Clients alone.
    Clients,
}

/// A change that breaks something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Break {
    /// Whom.
    pub(super) breaks: Breaks,
    /// Of what: a full name.
    pub(super) place: String,
    /// What has changed, and where that helps, what to do instead.
    pub(super) what: String,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// All that `new` breaks of what was made with `old`; what breaks the state comes first.
pub(super) fn compare(old: &Manifest, new: &Manifest) -> Vec<Break> {
    let pool = |manifest: &Manifest| {
        let pool = DescriptorPool::decode(manifest.descriptors.as_ref());
        pool.expect("the gate has let it through")
    };
    let mut found = Found::default();
    found.pools(&pool(old), &pool(new));
    found.kinds(old, new);
    found.0.sort();
    found.0
}

#[derive(Default)]
struct Found(Vec<Break>);

impl Found {
    fn add(&mut self, breaks: Breaks, place: &str, what: impl fmt::Display) {
        self.0.push(Break { breaks, place: place.to_owned(), what: what.to_string() });
    }

    fn pools(&mut self, old: &DescriptorPool, new: &DescriptorPool) {
        for message in old.all_messages().filter(|message| is_own(message.package_name())) {
            match new.get_message_by_name(message.full_name()) {
                Some(now) => self.message(&message, &now),
                // A map's entry goes with its field.
                None if message.is_map_entry() => {}
                None => self.add(Breaks::State, message.full_name(), "the message is gone"),
            }
        }
        for values in old.all_enums().filter(|values| is_own(values.package_name())) {
            match new.get_enum_by_name(values.full_name()) {
                Some(now) => self.values(&values, &now),
                None => self.add(Breaks::State, values.full_name(), "the enum is gone"),
            }
        }
        for service in old.services().filter(|service| is_own(service.package_name())) {
            match new.get_service_by_name(service.full_name()) {
                Some(now) => self.service(&service, &now),
                None => self.add(Breaks::Clients, service.full_name(), "the service is gone"),
            }
        }
    }

    fn message(&mut self, old: &MessageDescriptor, new: &MessageDescriptor) {
        for field in old.fields() {
            let place = format!("{}.{}", old.full_name(), field.name());
            match new.get_field(field.number()) {
                Some(now) => self.field(&place, &field, &now),
                None => self.gone(&place, &field, new),
            }
        }
    }

    fn field(&mut self, place: &str, old: &FieldDescriptor, new: &FieldDescriptor) {
        let (was, is) = (type_of(old), type_of(new));
        let (group, other) = (oneof(old), oneof(new));
        if was != is {
            let number = old.number();
            self.add(Breaks::State, place, format_args!("field {number} was {was}, and is {is}"));
        } else if group != other {
            let of = |group: Option<String>| group.unwrap_or_else(|| "no oneof".to_owned());
            let what = format!("it was in {}, and is in {}", of(group), of(other));
            self.add(Breaks::State, place, what);
        } else if old.name() != new.name() {
            let what = format!("it is called {} now, in JSON and in code", new.name());
            self.add(Breaks::Clients, place, what);
        }
    }

    /// A field whose number is not in use any more.
    fn gone(&mut self, place: &str, old: &FieldDescriptor, new: &MessageDescriptor) {
        let number = old.number();
        if let Some(now) = new.get_field_by_name(old.name()) {
            let what = format!("it was field {number}, and is field {}", now.number());
            self.add(Breaks::State, place, what);
        } else if !new.reserved_ranges().any(|range| range.contains(&number)) {
            let what = format!("it is gone; say \"reserved {number};\", so that no other takes it");
            self.add(Breaks::State, place, what);
        }
    }

    fn values(&mut self, old: &EnumDescriptor, new: &EnumDescriptor) {
        for value in old.values() {
            let place = format!("{}.{}", old.full_name(), value.name());
            let number = value.number();
            let mut reserved = new.reserved_ranges();
            match (new.get_value(number), new.get_value_by_name(value.name())) {
                (Some(_), Some(now)) if now.number() == number => {}
                (_, Some(now)) => {
                    let what = format!("it was {number}, and is {}", now.number());
                    self.add(Breaks::State, &place, what);
                }
                (Some(now), None) => {
                    self.add(Breaks::Clients, &place, format!("it is called {} now", now.name()));
                }
                (None, None) if reserved.any(|range| range.contains(&number)) => {}
                (None, None) => {
                    let what = format!("it is gone; say \"reserved {number};\"");
                    self.add(Breaks::State, &place, what);
                }
            }
        }
    }

    fn service(&mut self, old: &ServiceDescriptor, new: &ServiceDescriptor) {
        for method in old.methods() {
            let place = format!("{}/{}", old.full_name(), method.name());
            let Some(now) = new.methods().find(|now| now.name() == method.name()) else {
                self.add(Breaks::Clients, &place, "the method is gone");
                continue;
            };
            for (what, was, is) in
                [("takes", method.input(), now.input()), ("returns", method.output(), now.output())]
            {
                if was.full_name() != is.full_name() {
                    let (was, is) = (was.full_name(), is.full_name());
                    let what = format!("it {what} {is}, no longer {was}");
                    self.add(Breaks::Clients, &place, what);
                }
            }
        }
    }

    fn kinds(&mut self, old: &Manifest, new: &Manifest) {
        for method in old.methods() {
            let now = new.methods().find(|now| now.path == method.path);
            let Some(now) = now.filter(|now| now.kind != method.kind) else { continue };
            let (was, is) = (method.kind.as_str_name(), now.kind.as_str_name());
            let place = method.path.trim_start_matches('/');
            self.add(Breaks::Clients, place, format_args!("it was a {was}, and is a {is}"));
        }
    }
}

fn is_own(package: &str) -> bool {
    !FOREIGN.contains(&package)
}

/// A field's type, as its `.proto` has it.
fn type_of(field: &FieldDescriptor) -> String {
    let kind = match field.kind() {
        Kind::Message(message) if field.is_map() => {
            let part = |part: FieldDescriptor| type_of(&part);
            let (key, value) = (message.map_entry_key_field(), message.map_entry_value_field());
            return format!("map<{}, {}>", part(key), part(value));
        }
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(values) => values.full_name().to_owned(),
        scalar => format!("{scalar:?}"),
    };
    if field.is_list() { format!("repeated {kind}") } else { kind }
}

/// The oneof that the author has put a field in.
fn oneof(field: &FieldDescriptor) -> Option<String> {
    let group = field.containing_oneof().filter(|group| !group.is_synthetic())?;
    Some(format!("oneof {}", group.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(messages: &str) -> DescriptorPool {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.proto");
        std::fs::write(&file, format!("syntax = \"proto3\"; package a; {messages}")).unwrap();
        let set = protox::compile([&file], [folder.path()]).unwrap();
        DescriptorPool::from_file_descriptor_set(set).unwrap()
    }

    fn breaks(old: &str, new: &str) -> Vec<(Breaks, String)> {
        let mut found = Found::default();
        found.pools(&pool(old), &pool(new));
        found.0.sort();
        found.0.iter().map(|found| (found.breaks, found.to_string())).collect()
    }

    const OLD: &str = "message M { uint64 n = 1; string s = 2; repeated E e = 3; M m = 4;
        map<string, E> x = 5; oneof o { bool a = 6; bool b = 7; } optional bool p = 8; }
        enum E { ZERO = 0; ONE = 1; }
        service S { rpc Call(M) returns (N); } message N {}";

    #[track_caller]
    fn assert_breaks(from: &str, to: &str, expected: &[(Breaks, &str)]) {
        let new = OLD.replacen(from, to, 1);
        assert_ne!(new, OLD, "the change is one");
        let found = breaks(OLD, &new);
        let expected = expected.iter().map(|(whom, what)| (*whom, (*what).to_owned()));
        assert_eq!(found, expected.collect::<Vec<_>>(), "{from} -> {to}");
    }

    #[test]
    fn what_adds_or_reserves_breaks_nothing() {
        assert_eq!(breaks(OLD, OLD), []);
        for (from, to) in [
            ("message N {}", "message N { bool more = 1; } message O {}"),
            ("ONE = 1;", "ONE = 1; TWO = 2;"),
            ("rpc Call", "rpc More(N) returns (N); rpc Call"),
            ("string s = 2;", "reserved 2;"),
            ("optional bool p", "bool p"),
        ] {
            assert_breaks(from, to, &[]);
        }
    }

    #[test]
    fn what_stored_messages_cannot_be_read_by_breaks_the_state() {
        use Breaks::State;
        for (from, to, what) in [
            ("uint64 n", "int64 n", "a.M.n: field 1 was uint64, and is int64"),
            ("uint64 n", "repeated uint64 n", "a.M.n: field 1 was uint64, and is repeated uint64"),
            ("M m = 4", "N m = 4", "a.M.m: field 4 was a.M, and is a.N"),
            (
                "map<string, E> x",
                "map<string, N> x",
                "a.M.x: field 5 was map<string, a.E>, and is map<string, a.N>",
            ),
            ("n = 1", "n = 9", "a.M.n: it was field 1, and is field 9"),
            (
                "string s = 2;",
                "",
                "a.M.s: it is gone; say \"reserved 2;\", so that no other takes it",
            ),
            (
                "oneof o { bool a = 6;",
                "bool a = 6; oneof o {",
                "a.M.a: it was in oneof o, and is in no oneof",
            ),
            ("ONE = 1;", "ONE = 2;", "a.E.ONE: it was 1, and is 2"),
            ("ONE = 1;", "", "a.E.ONE: it is gone; say \"reserved 1;\""),
        ] {
            let new = OLD.replacen(from, to, 1);
            let found = breaks(OLD, &new);
            assert!(found.contains(&(State, what.to_owned())), "{from} -> {to}: {found:?}");
        }
    }

    #[test]
    fn what_only_callers_see_breaks_clients() {
        use Breaks::Clients;
        for (from, to, what) in [
            ("string s", "string t", "a.M.s: it is called t now, in JSON and in code"),
            ("ONE", "UNO", "a.E.ONE: it is called UNO now"),
            ("rpc Call", "rpc Ask", "a.S/Call: the method is gone"),
            ("service S", "service T", "a.S: the service is gone"),
            ("Call(M)", "Call(N)", "a.S/Call: it takes a.N, no longer a.M"),
            ("returns (N)", "returns (M)", "a.S/Call: it returns a.M, no longer a.N"),
        ] {
            assert_breaks(from, to, &[(Clients, what)]);
        }
    }
}
