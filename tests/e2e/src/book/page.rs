//! From a page's Markdown to what is to be done. All that a page shows in a fence is tried in some
//! way, or is plain text:
//!
//! | fence | what becomes of it |
//! |---|---|
//! | `console` | lines after `$ ` are typed, one after the other; what follows is what is seen |
//! | any, after `<!-- file: PATH -->` | is written to that file |
//! | any, after `<!-- from: PATH -->` | must stand in that file of the repository |
//! | `text` | nothing |
//!
//! A `console` that begins without a `$` is what is seen next of the command that still runs, and
//! a line `^C` ends that. Before a fence, `<!-- fails -->` says that the last command ends with an
//! error, `<!-- eventually -->` that it is repeated until it shows what it should, and
//! `<!-- full -->` that this takes long, and is tried in the full form of the tests alone.

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its path within the book.
    pub name: String,
    /// Its fences, in their order.
    pub blocks: Vec<Block>,
}

/// What is in a fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Where it begins.
    pub line: usize,
    /// Whether it takes long.
    pub only_in_full: bool,
    /// What is to be done with it.
    pub kind: Kind,
}

/// What is to be done with a fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To be typed.
    Console(Console),
    /// To be written to a file.
    File {
        /// From the page's folder.
        path: String,
        /// All of it.
        text: String,
    },
    /// To be found in a file.
    Excerpt {
        /// From the root of the repository.
        path: String,
        /// What must be there.
        text: String,
    },
    /// To be read.
    Text,
}

/// What happens in a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Console {
    /// One after the other.
    pub steps: Vec<Step>,
    /// Whether the last command ends with an error.
    pub fails: bool,
    /// Whether the last command is repeated until it shows what it should.
    pub is_repeated: bool,
}

/// A command, and what is seen of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Where it stands.
    pub line: usize,
    /// What is typed; `None`: nothing, a command still runs.
    pub command: Option<String>,
    /// What is seen.
    pub expected: Vec<String>,
    /// Whether the command is ended then.
    pub is_interrupted: bool,
}

const FENCE: &str = "```";

impl Page {
    /// Reads a page, or says what is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut blocks = Vec::new();
        let mut marks = Vec::new();
        let mut lines = (1..).zip(text.lines());
        while let Some((line, content)) = lines.next() {
            let wrong = |what: &str| format!("{name}:{line}: {what}");
            if let Some(mark) = mark(content) {
                marks = mark.split(", ").map(str::to_owned).collect();
            } else if content.trim_start().starts_with(FENCE) {
                let language = content.strip_prefix(FENCE);
                let language = language.ok_or_else(|| wrong("a fence begins a line"))?;
                let inside: Vec<&str> = lines
                    .by_ref()
                    .map(|(_, line)| line)
                    .take_while(|line| *line != FENCE)
                    .collect();
                let block =
                    Block::new(line, language, &marks, &inside).map_err(|what| wrong(&what));
                blocks.push(block?);
                marks.clear();
            } else if !content.is_empty() && !marks.is_empty() {
                return Err(wrong("there is no fence for the comment before"));
            }
        }
        Ok(Self { name: name.to_owned(), blocks })
    }

    /// Whether there is anything to do.
    pub fn does_something(&self) -> bool {
        self.blocks.iter().any(|block| block.kind != Kind::Text)
    }
}

/// What a comment says of the fence behind it.
fn mark(line: &str) -> Option<&str> {
    line.strip_prefix("<!-- ")?.strip_suffix(" -->")
}

impl Block {
    fn new(line: usize, language: &str, marks: &[String], inside: &[&str]) -> Result<Self, String> {
        let text = || inside.iter().flat_map(|line| [*line, "\n"]).collect::<String>();
        let is_marked = |wanted: &str| marks.iter().any(|mark| mark == wanted);
        let named = |what: &str| marks.iter().find_map(|mark| mark.strip_prefix(what));
        let known = ["fails", "eventually", "full"];
        let is_known = |mark: &String| {
            known.contains(&mark.as_str())
                || mark.starts_with("file: ")
                || mark.starts_with("from: ")
        };
        if let Some(unknown) = marks.iter().find(|mark| !is_known(mark)) {
            return Err(format!("nothing is known of <!-- {unknown} -->"));
        }
        let kind = if let Some(path) = named("file: ") {
            Kind::File { path: path.to_owned(), text: text() }
        } else if let Some(path) = named("from: ") {
            Kind::Excerpt { path: path.to_owned(), text: text() }
        } else if language == "console" {
            Kind::Console(Console {
                steps: steps(line, inside)?,
                fails: is_marked("fails"),
                is_repeated: is_marked("eventually"),
            })
        } else if language == "text" {
            Kind::Text
        } else {
            return Err(format!("nothing tries what is in a fence of {language:?}"));
        };
        Ok(Self { line, only_in_full: is_marked("full"), kind })
    }
}

fn steps(first: usize, inside: &[&str]) -> Result<Vec<Step>, String> {
    let mut steps: Vec<Step> = Vec::new();
    let mut goes_on = false;
    for (line, content) in (first + 1..).zip(inside) {
        if goes_on || content.starts_with("$ ") {
            let typed = content.strip_prefix("$ ").unwrap_or(content);
            let (typed, more) =
                typed.strip_suffix('\\').map_or((typed, false), |typed| (typed, true));
            if goes_on {
                let command = steps.last_mut().and_then(|step| step.command.as_mut());
                command.ok_or("nothing goes on")?.push_str(typed.trim_start());
            } else {
                let command = Some(typed.to_owned());
                steps.push(Step { line, command, ..Step::default() });
            }
            goes_on = more;
            continue;
        }
        if steps.is_empty() {
            steps.push(Step { line, ..Step::default() });
        }
        let step = steps.last_mut().ok_or("there is one")?;
        if step.is_interrupted {
            return Err("something follows a ^C".to_owned());
        }
        if *content == "^C" {
            step.is_interrupted = true;
        } else {
            step.expected.push((*content).to_owned());
        }
    }
    if steps.is_empty() { Err("nothing is typed, and nothing seen".to_owned()) } else { Ok(steps) }
}
