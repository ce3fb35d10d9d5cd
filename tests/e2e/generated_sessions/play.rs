//! Plays a program on a port and keeps every answer. A program may be wrong in any way (a statement that was never prepared, a
//! transaction left open): the server's opinion of that is an answer too.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::client::{Answer, Client, End, Expect, Prepared};
use super::encode::{attributes, execute};
use super::program::{Execution, Identity, Program, Step};

/// Password of every user of the programs.
pub(super) const PASSWORD: &str = "gen-Secret_1";
/// A statement number that no server gives out in a program, for steps on slots where nothing was prepared.
const NEVER_PREPARED: u32 = 4_000_000;
/// Longest rest in a [`Step::Pause`].
const PAUSE_MAX: Duration = Duration::from_millis(20);
/// How long a statement that must be killed is left alone before each KILL.
const BETWEEN_KILLS: Duration = Duration::from_millis(40);

/// Where and among whom a program runs.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub port: u16,
    /// Stands for `{s}`.
    pub schema: &'a str,
    pub crowd: Option<&'a Crowd>,
    /// The longest that one answer may take.
    pub patience: Duration,
}

/// The clients that run at the same time. They only ever look at it: nobody waits for anybody.
#[derive(Default)]
pub(super) struct Crowd {
    steps: AtomicU64,
    clients: AtomicUsize,
}

/// A prepared statement of the program and what was sent for it.
#[derive(Default)]
pub(super) struct Slot {
    pub prepared: Option<Prepared>,
    /// Types of the last execution.
    pub kinds: Vec<&'static str>,
    /// Whether its executions ask for a cursor: as the first one did. After one with a cursor MySQL 9.7.4 breaks off the
    /// answer to one without (a bare OK after the columns), and no client gets to its end.
    pub cursor: Option<bool>,
    /// Parameters that COM_STMT_SEND_LONG_DATA has filled.
    pub long: Vec<u16>,
}

struct Player<'a> {
    place: Place<'a>,
    program: &'a Program,
    identity: Identity,
    client: Option<Client>,
    slots: HashMap<usize, Slot>,
}

/// Plays it all: the answer of the login, then one for each step.
pub(super) fn play(place: Place<'_>, program: &Program) -> Vec<Answer> {
    let mut player = Player {
        place,
        program,
        identity: program.identity.clone(),
        client: None,
        slots: HashMap::new(),
    };
    if let Some(crowd) = place.crowd {
        crowd.clients.fetch_add(1, Relaxed);
    }
    let mut answers = vec![player.login()];
    for step in &program.steps {
        answers.push(player.step(step));
        if let Some(crowd) = place.crowd {
            crowd.steps.fetch_add(1, Relaxed);
        }
        // What comes after a hang would only hang as well.
        if answers.last().is_some_and(|answer| answer.end == End::Hang) {
            break;
        }
    }
    if let Some(client) = player.client.take() {
        client.quit();
    }
    if let Some(crowd) = place.crowd {
        crowd.clients.fetch_sub(1, Relaxed);
    }
    answers
}

impl Crowd {
    /// Rests until others have done some steps; not for long, and not when alone.
    fn pause(&self) {
        let (start, end) = (self.steps.load(Relaxed), Instant::now() + PAUSE_MAX);
        while self.steps.load(Relaxed) < start + 5
            && self.clients.load(Relaxed) > 1
            && Instant::now() < end
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Player<'_> {
    fn login(&mut self) -> Answer {
        let (client, answer) = self.new_client();
        self.client = client;
        answer
    }

    fn new_client(&self) -> (Option<Client>, Answer) {
        let identity = self.filled_identity(&self.identity);
        let (port, patience) = (self.place.port, self.place.patience);
        Client::login(port, &identity, PASSWORD, self.program.bits(), patience)
    }

    fn filled(&self, text: &str) -> String {
        text.replace("{s}", self.place.schema)
    }

    fn filled_identity(&self, identity: &Identity) -> Identity {
        Identity {
            schema: self.filled(&identity.schema),
            ..identity.clone()
        }
    }

    fn step(&mut self, step: &Step) -> Answer {
        let nothing = Answer::only(End::Whole);
        match step {
            Step::Pause => {
                self.place.crowd.inspect(|crowd| crowd.pause());
                return nothing;
            }
            Step::Kill => return self.kill(),
            _ if self.client.is_none() => return Answer::only(End::Closed),
            Step::KillQuery(sql) => return self.kill_query(sql),
            Step::ChangeUser(identity) => return self.change_user(identity),
            Step::Prepare(slot, sql) => return self.prepare(*slot, sql),
            _ => {}
        }
        let (command, expect) = self.command(step);
        let Some(client) = self.client.as_mut() else {
            return nothing;
        };
        let answer = match expect {
            Some(expect) => client.ask(&command, expect),
            None => {
                client.send(&command);
                nothing
            }
        };
        self.lose_closed(answer)
    }

    /// A connection that was closed is not used any more.
    fn lose_closed(&mut self, answer: Answer) -> Answer {
        if answer.end != End::Whole {
            self.client = None;
        }
        answer
    }

    /// The bytes of an ordinary command, and what its answer is; some have none.
    fn command(&mut self, step: &Step) -> (Vec<u8>, Option<Expect>) {
        let with = |code: u8, rest: &[u8]| [&[code], rest].concat();
        let has_attributes = self.client.as_ref().is_some_and(Client::has_attributes);
        match step {
            Step::Query(sql) => {
                let head = attributes(has_attributes, &[]);
                let text = [head, self.filled(sql).into_bytes()].concat();
                (with(0x03, &text), Some(Expect::Results))
            }
            Step::Attributed(pairs, sql) => {
                let head = attributes(has_attributes, pairs);
                let text = [head, self.filled(sql).into_bytes()].concat();
                (with(0x03, &text), Some(Expect::Results))
            }
            Step::Use(schema) => {
                let schema = self.filled(schema);
                (with(0x02, schema.as_bytes()), Some(Expect::Simple))
            }
            Step::Execute(slot, execution) => self.execute(*slot, execution, has_attributes),
            Step::LongData(slot, parameter, text) => {
                let head = self.statement(*slot);
                let slot = self.slots.entry(*slot).or_default();
                slot.long.push(*parameter);
                let head = [&head[..], &parameter.to_le_bytes()].concat();
                (with(0x18, &[&head, text.as_bytes()].concat()), None)
            }
            Step::Fetch(slot, rows) => {
                let head = [self.statement(*slot), rows.to_le_bytes()].concat();
                (with(0x1C, &head), Some(Expect::Fetch))
            }
            Step::ResetStatement(slot) => {
                let head = self.statement(*slot);
                self.slots.entry(*slot).or_default().long.clear();
                (with(0x1A, &head), Some(Expect::Simple))
            }
            // The number stays: a later step on this slot uses a statement that was closed.
            Step::Close(slot) => (with(0x19, &self.statement(*slot)), None),
            Step::ResetConnection => (vec![0x1F], Some(Expect::Simple)),
            Step::Statistics => (vec![0x09], Some(Expect::Statistics)),
            Step::FieldList(table) => {
                let table = self.filled(table);
                (
                    with(0x04, &[table.as_bytes(), &[0]].concat()),
                    Some(Expect::FieldList),
                )
            }
            Step::SetOption(option) => (with(0x1B, &option.to_le_bytes()), Some(Expect::Simple)),
            _ => (vec![0x0E], Some(Expect::Simple)),
        }
    }

    fn statement(&self, slot: usize) -> [u8; 4] {
        let prepared = self.slots.get(&slot).and_then(|slot| slot.prepared);
        let never = NEVER_PREPARED + slot as u32;
        prepared.map_or(never, |prepared| prepared.id).to_le_bytes()
    }

    fn prepare(&mut self, slot: usize, sql: &str) -> Answer {
        let sql = self.filled(sql);
        let Some(client) = self.client.as_mut() else {
            return Answer::only(End::Closed);
        };
        let (answer, prepared) = client.prepare(sql.as_bytes());
        // Numbers are each server's own: one that was of use before a reset may come again, and must not mean two slots.
        if let Some(id) = prepared.map(|prepared| prepared.id) {
            self.slots
                .retain(|_, other| other.prepared.is_none_or(|other| other.id != id));
        }
        let fresh = Slot {
            prepared,
            ..Slot::default()
        };
        self.slots.insert(slot, fresh);
        self.lose_closed(answer)
    }

    fn execute(
        &mut self,
        slot: usize,
        execution: &Execution,
        has_attributes: bool,
    ) -> (Vec<u8>, Option<Expect>) {
        let number = self.statement(slot);
        let slot = self.slots.entry(slot).or_default();
        let cursor = *slot.cursor.get_or_insert(execution.cursor);
        let command = execute(number, slot, execution, has_attributes);
        slot.long.clear();
        let expect = match cursor {
            true => Expect::Cursor,
            false => Expect::Results,
        };
        (command, Some(expect))
    }

    fn change_user(&mut self, identity: &Identity) -> Answer {
        let filled = self.filled_identity(identity);
        let Some(client) = self.client.as_mut() else {
            return Answer::only(End::Closed);
        };
        let answer = client.change_user(&filled, PASSWORD);
        if answer.error().is_none() {
            self.identity = identity.clone();
        }
        self.lose_closed(answer)
    }

    /// A second session says KILL QUERY until the sleeping statement answers. Whether the KILL met it before or in its sleep
    /// nobody knows: 1317 and the rows of an ended sleep are the same here, and only that it ended and how the KILLs were
    /// answered is compared.
    fn kill_query(&mut self, sql: &str) -> Answer {
        let (second, login) = self.new_client();
        let text = self.filled(sql);
        let (Some(mut second), Some(client)) = (second, self.client.as_mut()) else {
            return login;
        };
        let (head, id) = (attributes(client.has_attributes(), &[]), client.id);
        client.send(&[&[0x03], &head[..], text.as_bytes()].concat());
        let end = Instant::now() + self.place.patience;
        let mut refused = Vec::new();
        while !client.hears(BETWEEN_KILLS) && Instant::now() < end {
            let told = second.ask(&kill_command(&second, "QUERY", id), Expect::Results);
            refused.extend(told.error().map(|code| (0, code.to_le_bytes().to_vec())));
        }
        let ended = client.answer(Expect::Results).end;
        second.quit();
        refused.dedup();
        self.lose_closed(Answer {
            packets: refused,
            end: ended,
        })
    }

    /// A second session ends this one, which sees it and logs in again: the answer is that of the login.
    fn kill(&mut self) -> Answer {
        let (second, login) = self.new_client();
        let (Some(mut second), Some(mut client)) = (second, self.client.take()) else {
            return login;
        };
        let told = second.ask(&kill_command(&second, "", client.id), Expect::Results);
        second.quit();
        let end = client.answer(Expect::Simple).end;
        self.slots.clear();
        if told.error().is_some() || end == End::Hang {
            return Answer { end, ..told };
        }
        self.login()
    }
}

fn kill_command(second: &Client, what: &str, id: u32) -> Vec<u8> {
    let head = attributes(second.has_attributes(), &[]);
    [&[0x03], &head[..], format!("KILL {what} {id}").as_bytes()].concat()
}
