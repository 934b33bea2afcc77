//! What tries the book's pages is tried itself: it must be able to fail.

use std::fs;
use std::process::Command;

use quorate_e2e::book::page::{Block, Console, Kind, Page};
use quorate_e2e::book::terminal::{Shell, to_own, to_shown};
use quorate_e2e::book::{links, screen};
use quorate_e2e::wait;

fn parse(text: &str) -> Result<Page, String> {
    Page::parse("a.md", text)
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

#[test]
fn what_is_typed_and_what_is_seen() {
    let page = parse("Text.\n```console\n$ a \\\n  b\nout\n$ c\n^C\n```\n").unwrap();
    let [Block { line: 2, only_in_full: false, kind: Kind::Console(console) }] = &page.blocks[..]
    else {
        panic!("{page:?}")
    };
    let [one, two] = &console.steps[..] else { panic!("{console:?}") };
    assert_eq!((one.line, one.command.as_deref()), (3, Some("a b")));
    assert_eq!(one.expected, ["out"]);
    assert_eq!((two.command.as_deref(), two.is_interrupted), (Some("c"), true));
    assert!(!console.fails && !console.is_repeated);
}

#[test]
fn what_stands_before_a_fence_says_what_becomes_of_it() {
    let page = parse("<!-- file: a/b.rs -->\n```rust\nfn a() {}\n```\n").unwrap();
    let Kind::File { path, text } = &page.blocks[0].kind else { panic!("{page:?}") };
    assert_eq!((path.as_str(), text.as_str()), ("a/b.rs", "fn a() {}\n"));
    let page = parse("<!-- full, fails -->\n\n```console\n$ a\n```\n").unwrap();
    assert!(page.blocks[0].only_in_full);
    assert!(matches!(&page.blocks[0].kind, Kind::Console(Console { fails: true, .. })));
}

#[test]
fn nothing_slips_in_untried() {
    for (text, why) in [
        ("```rust\nfn a() {}\n```\n", "a.md:1: nothing tries what is in a fence of \"rust\""),
        ("```\na\n```\n", "a.md:1: nothing tries what is in a fence of \"\""),
        ("- a\n  ```console\n  $ a\n  ```\n", "a.md:2: a fence begins a line"),
        ("<!-- sometimes -->\n```text\n```\n", "nothing is known of <!-- sometimes -->"),
        ("<!-- full -->\nText.\n", "a.md:2: there is no fence"),
        ("```console\n```\n", "nothing is typed"),
        ("```console\n$ a\n^C\nb\n```\n", "something follows"),
    ] {
        let problem = parse(text).unwrap_err();
        assert!(problem.contains(why), "{problem}");
    }
}

#[test]
fn dots_stand_for_any_part_of_a_line() {
    let is_line = |shown: &str, line: &str| screen::is_all(&lines(shown), &lines(line));
    for (shown, line) in [
        ("a", "a"),
        ("a...", "a"),
        ("a...c", "abc"),
        ("...", "anything"),
        ("built in ... s, ...", "built in 1.2 s, kept"),
    ] {
        assert!(is_line(shown, line), "{shown} {line}");
    }
    for (shown, line) in [("a", "b"), ("a...c", "ab"), ("a...b...", "ac"), ("ab...bc", "abc")] {
        assert!(!is_line(shown, line), "{shown} {line}");
    }
}

#[test]
fn a_line_of_dots_stands_for_any_lines() {
    assert!(screen::is_all(&lines("...\nb"), &lines("a\na\nb")));
    assert!(screen::is_all(&lines("b\n..."), &lines("b\na")));
    assert!(screen::is_all(&[], &[]));
    assert!(!screen::is_all(&[], &lines("a")), "what is not shown must not be seen");
    assert!(!screen::is_all(&lines("...\nb"), &lines("b\na")));
    assert_eq!(screen::consumed(&lines("...\nb"), &lines("a\nb\nc")), Some(2));
    assert_eq!(screen::consumed(&lines("b"), &lines("a\nb")), None);
}

#[test]
fn links_that_lead_nowhere_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    fs::create_dir(folder.path().join("x")).unwrap();
    write(links::CONTENTS, "[A](a.md) [B](x/b.md)\n");
    write("a.md", "# A, `b`\n[b](x/b.md#b) [c](c.md) [own](#a-b) [web](https://example.org)\n");
    write("x/b.md", "# B\n[a](../a.md#a-c)\n```text\n# C [x](nowhere.md)\n```\n");
    write("d.md", "");
    let pages = ["a.md", "d.md", "x/b.md"].map(str::to_owned);
    assert_eq!(
        links::broken(folder.path(), &pages),
        [
            "a.md:2: there is no page c.md",
            "x/b.md:2: there is no heading ../a.md#a-c",
            "SUMMARY.md: d.md is not in it"
        ]
    );
}

#[test]
fn ports_are_mapped_both_ways() {
    let shown = "call 127.0.0.1:7400 and 127.0.0.1:7501,127.0.0.1:80 and 7400";
    let own = to_own(shown, 20_000);
    assert_eq!(own, "call 127.0.0.1:20000 and 127.0.0.1:20101,127.0.0.1:80 and 7400");
    assert_eq!(to_shown(&own, 20_000), shown);
}

#[test]
fn a_shell_keeps_its_folder_and_tells_how_commands_end() {
    let mut command = Command::new("bash");
    let folder = tempfile::tempdir().unwrap();
    command.current_dir(folder.path());
    let mut shell = Shell::start(command);
    let mut run = |typed: &str| shell.run(typed, wait::LONG);
    assert_eq!(run("mkdir a && cd a && X=1"), (vec![], 0));
    let (out, code) = run("pwd; printf $X; false");
    assert_eq!((out.len(), code), (2, 1), "{out:?}");
    assert!(out[0].ends_with("/a") && out[1] == "1", "{out:?}");
    assert_eq!(run("echo a >&2"), (vec!["a".to_owned()], 0));
    assert_eq!(run("sleep 100 & kill -9 %1; wait; X=").1, 0, "jobs have numbers");
}
