//! Stories as text: what is done to a cluster, and what it then does.
//!
//! A story is a file of blocks. A block is commands, one on each line; a line of four dashes; and
//! what came of them, up to an empty line. Lines that begin with `#` are for the reader. Running it
//! gives the same file with what came of it now: so one comparison tests it, and writing the result
//! back regenerates it.
//!
//! | command | does |
//! |---|---|
//! | `cluster 3` | begins anew with so many nodes, and no faults |
//! | `run 500ms`, `run 2s` | lets time pass; tells what happened |
//! | `until leader`, `until answered` | lets time pass until a node leads, or all have answers |
//! | `put 1 a`, `get 1 a`, `cas 1 a 3` | calls a node; a call writes its own number |
//! | `open 1` | opens a session |
//! | `put 1 a seq 2` | the same as that call of the session that was opened last |
//! | `again 1 5` | sends call 5 once more, to this node |
//! | `cut 1 2`, `part 1 2 \| 3`, `heal` | cuts one way, or all ways between two sides; heals all |
//! | `kill 1`, `start 1`, `stop 1` | ends a process, starts it, stops it in order |
//! | `pause 1`, `resume 1` | lets a process stand still, and go on |
//! | `nodes`, `logs` | tells what nodes are, and what their logs hold |
//! | `messages on`, `messages off` | whether messages are told |

use anyhow::{Context as _, anyhow, bail};

use crate::cluster::Cluster;
use crate::plan::Plan;
use crate::request::{Request, key_number};
use crate::time::{MS, SECOND, Time};

/// The seed of all stories: a cluster without faults needs one for its elections.
const SEED: u64 = 4;
/// How long `until` waits.
const UNTIL_MAX: Time = 60 * SECOND;
const SEPARATOR: &str = "----";

/// Runs a story; returns it with what came of it.
pub fn run(story: &str) -> anyhow::Result<String> {
    let mut teller = Teller { cluster: None, tells_messages: false, said: String::new() };
    let mut out = String::new();
    let mut lines = story.lines();
    while let Some(line) = lines.next() {
        out += line;
        out += "\n";
        if line == SEPARATOR {
            out += &teller.take_said();
            // What was there before.
            for old in lines.by_ref() {
                if old.is_empty() {
                    break;
                }
            }
            out += "\n";
        } else if !line.is_empty() && !line.starts_with('#') {
            teller.take(line).with_context(|| format!("in the line {line:?}"))?;
        }
    }
    let mut told = out.trim_end().to_owned();
    told += "\n";
    Ok(told)
}

struct Teller {
    cluster: Option<Cluster>,
    tells_messages: bool,
    /// What commands of this block have said.
    said: String,
}

impl Teller {
    fn cluster(&mut self) -> anyhow::Result<&mut Cluster> {
        self.cluster.as_mut().ok_or_else(|| anyhow!("a story begins with its cluster"))
    }

    fn say(&mut self, line: &str) {
        self.said += line;
        self.said += "\n";
    }

    /// What has happened since the last time.
    fn hear(&mut self) -> anyhow::Result<()> {
        let tells_messages = self.tells_messages;
        let lines = self.cluster()?.trace.take_lines();
        for line in lines {
            let is_told = tells_messages || !line.contains("  hears  ");
            if is_told && !line.contains("  applies  ") {
                self.say(&line);
            }
        }
        Ok(())
    }

    fn take_said(&mut self) -> String {
        std::mem::take(&mut self.said)
    }

    fn take(&mut self, line: &str) -> anyhow::Result<()> {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["cluster", nodes] => {
                let plan = Plan::calm(SEED, nodes.parse()?);
                self.cluster = Some(Cluster::new(plan, None, true)?);
            }
            ["messages", how] => self.tells_messages = how == "on",
            ["run", time] => {
                let time = duration(time)?;
                self.cluster()?.run_for(time)?;
            }
            ["until", what] => self.until(what)?,
            ["put", node, key] => self.ask(node, key, |key, call| Request::Put(key, call, 0))?,
            ["get", node, key] => self.ask(node, key, |key, _| Request::Get(key))?,
            ["cas", node, key, revision] => {
                let revision = revision.parse()?;
                self.ask(node, key, |key, call| Request::Cas(key, revision, call))?;
            }
            ["open", node] => {
                let node = node.parse()?;
                self.cluster()?.ask(node, Request::Open)?;
            }
            ["put", node, key, "seq", seq] => {
                let (node, seq) = (node.parse()?, seq.parse()?);
                let key = register(key)?;
                let asked =
                    self.cluster()?.ask_in_session(node, seq, |call| Request::Put(key, call, 0))?;
                asked.context("no session was opened")?;
            }
            ["again", node, call] => self.cluster()?.ask_again(node.parse()?, call.parse()?)?,
            ["cut", from, to] => {
                let (from, to) = (from.parse()?, to.parse()?);
                self.cluster()?.set_cut(from, to, true);
            }
            ["part", ..] => self.part(line)?,
            ["heal"] => self.cluster()?.heal_network(),
            ["kill", node] => self.cluster()?.kill(node.parse()?)?,
            ["start", node] => self.cluster()?.launch(node.parse()?)?,
            ["stop", node] => self.cluster()?.stop_in_order(node.parse()?)?,
            ["pause", node] => self.cluster()?.set_paused(node.parse()?, true),
            ["resume", node] => self.cluster()?.set_paused(node.parse()?, false),
            ["nodes"] => self.each(Cluster::describe_node)?,
            ["logs"] => self.each(Cluster::describe_log)?,
            _ => bail!("no such command"),
        }
        self.hear()
    }

    fn until(&mut self, what: &str) -> anyhow::Result<()> {
        let holds = match what {
            "leader" => |cluster: &Cluster| cluster.leader().is_some(),
            "answered" => Cluster::all_answered,
            _ => bail!("there is no such thing to wait for"),
        };
        if !self.cluster()?.run_until_holds(UNTIL_MAX, holds)? {
            self.hear()?;
            self.say("nothing of the kind within a minute");
        }
        Ok(())
    }

    fn ask(
        &mut self,
        node: &str,
        key: &str,
        request: impl FnOnce(u32, u64) -> Request,
    ) -> anyhow::Result<()> {
        let node = node.parse()?;
        let key = register(key)?;
        self.cluster()?.ask(node, |call| request(key, call))?;
        Ok(())
    }

    fn part(&mut self, line: &str) -> anyhow::Result<()> {
        let sides = line.strip_prefix("part ").and_then(|sides| sides.split_once('|'));
        let (left, right) = sides.context("two sides, with a bar between them")?;
        let numbers = |side: &str| {
            let numbers = side.split_whitespace().map(str::parse::<u32>);
            numbers.collect::<Result<Vec<_>, _>>()
        };
        let (left, right) = (numbers(left)?, numbers(right)?);
        let cluster = self.cluster()?;
        for a in &left {
            for b in &right {
                cluster.set_cut(*a, *b, true);
                cluster.set_cut(*b, *a, true);
            }
        }
        Ok(())
    }

    fn each(&mut self, describe: fn(&Cluster, u32) -> String) -> anyhow::Result<()> {
        let cluster = self.cluster()?;
        let lines: Vec<_> = (1..=cluster.plan.nodes).map(|node| describe(cluster, node)).collect();
        for line in lines {
            self.say(&line);
        }
        Ok(())
    }
}

fn register(key: &str) -> anyhow::Result<u32> {
    key_number(key.as_bytes()).context("a register is a letter")
}

fn duration(text: &str) -> anyhow::Result<Time> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, MS),
        None => (text.strip_suffix('s').context("a time ends in s or ms")?, SECOND),
    };
    Ok(number.parse::<Time>()? * unit)
}
