//! The command reference is what `--help` says: `QUORATE_UPDATE=1` writes it anew.

use std::fmt::Write as _;
use std::fs;

use quorate_e2e::binary::run;
use quorate_e2e::book;

const PAGE: &str = "commands.md";
/// What the page says before its first command; the rest is written by this test.
const BEGIN: &str = "\n## quorate\n";

#[test]
fn the_command_reference_is_what_help_says() {
    let file = book::folder().join(PAGE);
    let now = fs::read_to_string(&file).unwrap();
    let (head, _) = now.split_once(BEGIN).expect("the page has its first heading");
    let mut made = head.to_owned();
    describe(&mut made, &[]);
    if std::env::var_os("QUORATE_UPDATE").is_some() {
        fs::write(&file, &made).unwrap();
        return;
    }
    let different = made.lines().zip(now.lines()).find(|(made, now)| made != now);
    assert!(made == now, "QUORATE_UPDATE=1 writes {PAGE} anew: {different:?}");
}

/// A command with its help, and those below it.
fn describe(page: &mut String, command: &[&str]) {
    let mut arguments = command.to_vec();
    arguments.push("--help");
    let ran = run(&arguments);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{command:?}");
    let name = ["quorate"].iter().chain(command).copied().collect::<Vec<_>>().join(" ");
    let lines: Vec<&str> = ran.out.lines().map(str::trim_end).collect();
    let help = lines.join("\n");
    write!(page, "\n## {name}\n\n```text\n$ {name} --help\n{}\n```\n", help.trim_end()).unwrap();
    let listed = lines.iter().skip_while(|line| **line != "Commands:").skip(1);
    for line in listed.take_while(|line| !line.is_empty()) {
        let word = line.strip_prefix("  ").filter(|line| !line.starts_with(' '));
        let Some(word) = word.and_then(|line| line.split_whitespace().next()) else { continue };
        if word != "help" {
            describe(page, &[command, &[word]].concat());
        }
    }
}
