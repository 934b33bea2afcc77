//! Commands at random, from a plugin's own descriptors: few names, so that commands meet each
//! other's traces, and now and then a value at the edge of its type.
//!
//! What a call said and was told is asked for again, in fields of the same name: the token that one
//! command gave for a name is what another one needs, together with the name.

use std::collections::{BTreeMap, HashMap, VecDeque};

use fastrand::Rng;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

/// How deep messages lie in messages.
const DEPTH_MAX: u32 = 4;
/// Calls that are remembered.
const HEARD_MAX: usize = 16;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Makes requests, the same ones for the same seed and replies.
pub(super) struct Generator {
    random: Rng,
    heard: VecDeque<Heard>,
    /// The call that the request at hand takes up, if it does.
    about: Heard,
}

/// Values by the names of their fields, of a request and its reply.
type Heard = BTreeMap<String, Vec<Value>>;

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: Rng::with_seed(seed), heard: VecDeque::new(), about: Heard::new() }
    }

    /// One of them.
    pub(super) fn choose<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        self.random.choice(among)
    }

    /// Milliseconds until the next command: mostly none, sometimes a minute.
    pub(super) fn pause_ms(&mut self) -> u64 {
        match self.random.u32(..16) {
            0 => self.random.u64(..120_000),
            1..4 => self.random.u64(..100),
            _ => 0,
        }
    }

    /// A request of that type.
    pub(super) fn message(&mut self, of: &MessageDescriptor) -> DynamicMessage {
        let heard = self.random.choice(&self.heard).cloned();
        self.about = heard.filter(|_| self.random.u32(..4) > 0).unwrap_or_default();
        self.message_at(of, 0)
    }

    /// Remembers a call that succeeded.
    pub(super) fn hear(&mut self, request: &DynamicMessage, reply: &DynamicMessage) {
        let mut heard = Heard::new();
        remember_all(&mut heard, request);
        remember_all(&mut heard, reply);
        if self.heard.len() == HEARD_MAX {
            self.heard.pop_front();
        }
        self.heard.push_back(heard);
    }

    fn message_at(&mut self, of: &MessageDescriptor, depth: u32) -> DynamicMessage {
        let mut message = DynamicMessage::new(of.clone());
        for group in of.oneofs().filter(|group| !group.is_synthetic()) {
            let fields: Vec<_> = group.fields().collect();
            let chosen = self.random.choice(&fields);
            // Now and then none of them.
            if let Some(field) = chosen.filter(|_| self.random.u32(..8) > 0) {
                self.set(&mut message, field, depth);
            }
        }
        for field in of.fields() {
            let group = field.containing_oneof();
            if group.is_none_or(|group| group.is_synthetic()) && self.random.u32(..8) > 0 {
                self.set(&mut message, &field, depth);
            }
        }
        message
    }

    fn set(&mut self, message: &mut DynamicMessage, field: &FieldDescriptor, depth: u32) {
        let is_deep = depth == DEPTH_MAX && matches!(field.kind(), Kind::Message(_));
        if is_deep {
            return;
        }
        let value = if field.is_map() {
            self.map(field, depth)
        } else if field.is_list() {
            let count = self.random.usize(..4);
            Value::List((0..count).map(|_| self.value(field, depth)).collect())
        } else {
            self.value(field, depth)
        };
        message.set_field(field, value);
    }

    fn map(&mut self, field: &FieldDescriptor, depth: u32) -> Value {
        let Kind::Message(entry) = field.kind() else { return Value::Map(HashMap::new()) };
        let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
        let mut pairs = HashMap::new();
        for _ in 0..self.random.usize(..4) {
            if let Some(key) = map_key(self.value(&key, depth)) {
                pairs.insert(key, self.value(&value, depth));
            }
        }
        Value::Map(pairs)
    }

    #[expect(clippy::cast_possible_truncation, reason = "any value of the smaller type will do")]
    fn value(&mut self, field: &FieldDescriptor, depth: u32) -> Value {
        let about = self.about.get(field.name()).and_then(|values| self.random.choice(values));
        let fits = about.filter(|value| value.is_valid(&field.kind()));
        if let Some(value) = fits.filter(|_| self.random.u32(..8) > 0) {
            return value.clone();
        }
        match field.kind() {
            Kind::Bool => Value::Bool(self.random.bool()),
            Kind::String => Value::String(self.text()),
            Kind::Bytes => Value::Bytes(self.text().into_bytes().into()),
            Kind::Float => Value::F32(self.float() as f32),
            Kind::Double => Value::F64(self.float()),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(self.signed() as i32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(self.signed()),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(self.number() as u32),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(self.number()),
            Kind::Enum(values) => {
                let values: Vec<_> = values.values().map(|value| value.number()).collect();
                Value::EnumNumber(self.random.choice(values).unwrap_or_default())
            }
            Kind::Message(message) => Value::Message(self.message_at(&message, depth + 1)),
        }
    }

    fn text(&mut self) -> String {
        match self.random.u32(..20) {
            0 => String::new(),
            1 => "é\u{0}\u{ffff}".to_owned(),
            2 => "long ".repeat(self.random.usize(..400)),
            3 => std::iter::repeat_with(|| self.random.lowercase()).take(8).collect(),
            _ => (*self.random.choice(&NAMES).unwrap_or(&"a")).to_owned(),
        }
    }

    /// Small numbers most of all.
    fn number(&mut self) -> u64 {
        match self.random.u32(..20) {
            0 => 0,
            1 => u64::MAX,
            2 => u64::MAX >> 1,
            3..8 => self.random.u64(..1 << 24) >> self.random.u32(..24),
            _ => self.random.u64(1..6),
        }
    }

    fn signed(&mut self) -> i64 {
        let number = self.number().cast_signed();
        if self.random.u32(..8) == 0 { number.wrapping_neg() } else { number }
    }

    fn float(&mut self) -> f64 {
        match self.random.u32(..12) {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => -0.0,
            _ => (self.random.f64() * 1000.0).round() / 10.0,
        }
    }
}

fn remember_all(heard: &mut Heard, message: &DynamicMessage) {
    for (field, value) in message.fields() {
        remember(heard, &field, value);
    }
}

fn remember(heard: &mut Heard, field: &FieldDescriptor, value: &Value) {
    match value {
        Value::Message(message) => remember_all(heard, message),
        Value::List(values) => {
            for value in values {
                remember(heard, field, value);
            }
        }
        Value::Map(_) => {}
        value => heard.entry(field.name().to_owned()).or_default().push(value.clone()),
    }
}

fn map_key(value: Value) -> Option<MapKey> {
    Some(match value {
        Value::Bool(key) => MapKey::Bool(key),
        Value::I32(key) => MapKey::I32(key),
        Value::I64(key) => MapKey::I64(key),
        Value::U32(key) => MapKey::U32(key),
        Value::U64(key) => MapKey::U64(key),
        Value::String(key) => MapKey::String(key),
        _ => return None,
    })
}
