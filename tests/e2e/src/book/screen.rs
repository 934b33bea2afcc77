//! Whether an output is the one that a page shows. Three dots stand for anything: alone on a line
//! for any lines, within one for any part of it.

/// What stands for anything.
pub const ANY: &str = "...";

/// Whether all of the output is what is shown.
pub fn is_all(shown: &[String], output: &[String]) -> bool {
    matched(shown, output, true).is_some()
}

/// How many lines of the output are what is shown, if its beginning is.
pub fn consumed(shown: &[String], output: &[String]) -> Option<usize> {
    matched(shown, output, false)
}

fn matched(shown: &[String], output: &[String], is_whole: bool) -> Option<usize> {
    let Some((first, rest)) = shown.split_first() else {
        return (!is_whole || output.is_empty()).then_some(0);
    };
    if first == ANY {
        let behind = |skipped: usize| Some(skipped + matched(rest, &output[skipped..], is_whole)?);
        return (0..=output.len()).find_map(behind);
    }
    let (line, more) = output.split_first()?;
    if !is_line(first, line) {
        return None;
    }
    Some(1 + matched(rest, more, is_whole)?)
}

fn is_line(shown: &str, line: &str) -> bool {
    let Some((begin, parts)) = shown.split_once(ANY) else {
        return shown.trim_end() == line.trim_end();
    };
    let Some(mut rest) = line.strip_prefix(begin) else { return false };
    let mut parts = parts.split(ANY).peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}
