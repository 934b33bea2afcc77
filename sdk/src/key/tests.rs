//! Bytes sort as values do, and can be read back.

use std::fmt::Debug;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn written<K>(key: &impl AsKey<K>) -> Vec<u8> {
    let mut out = Vec::new();
    key.write(&mut out);
    out
}

/// Reads back each key, and compares each with each: bytes sort as values do.
fn check<K: Key + Ord + Debug>(keys: &[K]) {
    for a in keys {
        let bytes = written(a);
        assert_eq!(K::read(&bytes).as_ref(), Some(a));
        for b in keys {
            assert_eq!(bytes.cmp(&written(b)), a.cmp(b), "{a:?} and {b:?}");
        }
    }
}

/// All strings of up to three of the bytes that matter.
fn byte_strings() -> Vec<Vec<u8>> {
    let mut all = vec![Vec::new()];
    for length in 0..3 {
        let longest: Vec<_> = all.iter().filter(|s| s.len() == length).cloned().collect();
        for byte in [0x00, 0x01, 0x02, 0xfe, 0xff] {
            all.extend(longest.iter().map(|s| [s.as_slice(), &[byte]].concat()));
        }
    }
    all
}

#[test]
fn numbers_sort_as_numbers() {
    check(&[u64::MIN, 1, 255, 256, u64::MAX - 1, u64::MAX]);
    check(&[i64::MIN, i64::MIN + 1, -256, -1, 0, 1, 255, 256, i64::MAX]);
    check(&(u8::MIN..=u8::MAX).collect::<Vec<_>>());
    check(&(i8::MIN..=i8::MAX).collect::<Vec<_>>());
    check(&[i16::MIN, -1, 0, i16::MAX]);
    check(&[i32::MIN, -1, 0, i32::MAX]);
    check(&[u16::MIN, 1, u16::MAX]);
    check(&[u32::MIN, 1, u32::MAX]);
    check(&[false, true]);
}

#[test]
fn strings_sort_as_strings() {
    check(&byte_strings());
    check(&["", "a", "a\0", "a\0b", "ab", "b", "ä"].map(str::to_owned));
}

#[test]
fn tuples_sort_by_their_first_part_first() {
    let strings = byte_strings();
    let with_number: Vec<_> =
        strings.iter().flat_map(|s| [0_u8, 1, 0xff].map(|n| (s.clone(), n))).collect();
    check(&with_number);
    let number_first: Vec<_> =
        strings.iter().flat_map(|s| [i16::MIN, -1, 0].map(|n| (n, s.clone()))).collect();
    check(&number_first);

    let short: Vec<_> = strings.iter().filter(|s| s.len() < 2).collect();
    let pairs: Vec<(Vec<u8>, Vec<u8>)> =
        short.iter().flat_map(|&a| short.iter().map(|&b| (a.clone(), b.clone()))).collect();
    check(&pairs);
    let nested: Vec<_> =
        pairs.iter().flat_map(|p| [false, true].map(|b| (p.clone(), b, p.0.clone()))).collect();
    check(&nested);
}

#[test]
fn a_borrowed_key_is_the_same_key() {
    assert_eq!(written::<(String, u64)>(&("a", 1)), written(&("a".to_owned(), 1_u64)));
    assert_eq!(written(&b"abc"), written(&b"abc".to_vec()));
    assert_eq!(written(&&"a"), written(&"a".to_owned()));
}

#[test]
fn what_is_not_a_key_is_none() {
    assert_eq!(u32::read(&[0; 3]), None);
    assert_eq!(u32::read(&[0; 5]), None);
    assert_eq!(bool::read(&[2]), None);
    assert_eq!(String::read(&[0xff]), None);
    assert_eq!(<(Vec<u8>, u8)>::read(b"unterminated"), None);
    assert_eq!(<(Vec<u8>, u8)>::read(&[0x00, 0x02, 0x00]), None, "neither escape nor end");
}

fn written_part<K>(key: &impl AsKey<K>) -> Vec<u8> {
    let mut out = Vec::new();
    key.write_part(&mut out);
    out
}

/// Two keys sort as their values, at the end of a stored key and before whatever else follows, and
/// are read back from both.
fn check_both<K: Key + Ord + Debug>([a, b]: &[K; 2], rests: &[Vec<u8>; 2]) {
    let order = a.cmp(b);
    assert_eq!(written(a).cmp(&written(b)), order);
    let parts = [[written_part(a), rests[0].clone()], [written_part(b), rests[1].clone()]];
    let [one, two] = parts.map(|part| part.concat());
    assert_eq!(one.cmp(&two), order.then_with(|| rests[0].cmp(&rests[1])));

    assert_eq!(K::read(&written(a)).as_ref(), Some(a));
    let mut bytes = one.as_slice();
    assert_eq!(K::read_part(&mut bytes).as_ref(), Some(a));
    assert_eq!(bytes, rests[0], "no more is taken than what was written");
}

/// Few bytes, so that strings have beginnings in common.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(select(vec![0x00, 0x01, 0x02, 0x7f, 0xfe, 0xff]), 0..6)
}

fn string() -> impl Strategy<Value = String> {
    let chars = vec(select(vec!['\0', '\u{1}', 'a', 'b', '\u{ff}', '\u{10ffff}']), 0..6);
    chars.prop_map(String::from_iter)
}

/// Each type of number: all values, but those at the edges more often.
macro_rules! numbers {
    ($($type:ident)*) => {
        proptest! {$(
            #[test]
            fn $type(
                pair in [number::$type(), number::$type()],
                rests in [bytes(), bytes()],
            ) {
                check_both(&pair, &rests);
            }
        )*}

        mod number {
            use proptest::prelude::*;
            $(
                pub(super) fn $type() -> impl Strategy<Value = $type> {
                    let edges = [$type::MIN, 0, $type::MAX];
                    let near = (proptest::sample::select(edges.to_vec()), 0..3_u8, any::<bool>())
                        .prop_map(|(edge, by, up)| {
                            let by = $type::try_from(by).unwrap();
                            if up { edge.wrapping_add(by) } else { edge.wrapping_sub(by) }
                        });
                    prop_oneof![any::<$type>(), near]
                }
            )*
        }
    };
}

numbers! { u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 }

proptest! {
    #[test]
    fn booleans(pair: [bool; 2], rests in [bytes(), bytes()]) {
        check_both(&pair, &rests);
    }

    #[test]
    fn byte_strings_of_all_kinds(pair in [bytes(), bytes()], rests in [bytes(), bytes()]) {
        check_both(&pair, &rests);
    }

    #[test]
    fn strings_of_all_kinds(pair in [string(), string()], rests in [bytes(), bytes()]) {
        check_both(&pair, &rests);
    }

    #[test]
    fn options(
        numbers in [option::of(number::i16()), option::of(number::i16())],
        strings in [option::of(string()), option::of(string())],
        rests in [bytes(), bytes()],
    ) {
        check_both(&numbers, &rests);
        check_both(&strings, &rests);
    }

    #[test]
    fn tuples(a in four(), b in four(), rests in [bytes(), bytes()]) {
        let pair = [a, b];
        check_both(&pair.clone().map(|(a, b, _, _)| (a, b)), &rests);
        check_both(&pair.clone().map(|(_, b, c, d)| (b, c, d)), &rests);
        check_both(&pair.clone().map(|(a, b, c, d)| (c, (b, d), a)), &rests);
        check_both(&pair, &rests);
    }

    /// What is read is what would be written: no two keys have one stored form.
    #[test]
    fn other_bytes_are_no_keys(bytes in bytes()) {
        type Nested = (Option<Vec<u8>>, String, bool);
        if let Some(key) = Nested::read(&bytes) {
            prop_assert_eq!(written(&key), bytes);
        }
    }

    /// The keys with a prefix, and they alone, lie between its ends.
    #[test]
    fn prefixes(key in string(), prefix in string(), number in number::u8(), rest in bytes()) {
        let within = |stored: &[u8], range: &dyn KeyRange<_>, form| {
            let (lo, hi) = ends(range, b"name\0", form);
            let stored = [b"name\0", stored].concat();
            lo <= stored && stored < hi
        };
        let starts = key.starts_with(&prefix);
        let range = Prefix(prefix.as_str());
        prop_assert_eq!(within(&written(&key), &range, Form::Whole), starts);
        let stored = [written_part(&key), rest].concat();
        prop_assert_eq!(within(&stored, &range, Form::First), starts);

        let pair = (key.as_str(), number);
        let (lo, hi) = ends::<(String, u8)>(&Prefix((&prefix,)), b"name\0", Form::Whole);
        let stored = [b"name\0".as_slice(), &written::<(String, u8)>(&pair)].concat();
        prop_assert_eq!(lo <= stored && stored < hi, key == prefix);
    }
}

fn four() -> impl Strategy<Value = (Vec<u8>, i8, String, Option<bool>)> {
    (bytes(), -1..2_i8, string(), any::<Option<bool>>())
}
