//! Where a response ends: a sans-IO machine that walks packet headers in place, over whatever chunks the socket gave.
//! Never decodes a row, never keeps one, never allocates while rows go by; what it keeps of the last packets is bounded.
//!
//! The caller forwards the bytes; the machine only says how many of them belong to this response and what it was.
//! Sequence numbers are checked from packet to packet: if we ever lost our place in a stream, this tells before a client does.

mod summary;

pub use summary::{ErrInfo, PrepareOk, Summary};

use super::command::Command;
use super::packet::{Cursor, HEADER_BYTES, PAYLOAD_BYTES_MAX};
use super::response::{
    EOF_HEADER, ERR_HEADER, ErrPacket, LOCAL_INFILE_HEADER, OK_HEADER, PROGRESS_ERROR_CODE,
};
use super::{ProtocolError, Result, capability, status};

/// The most that is kept of a packet that must be read and came in pieces: session state up to its own bound, and its surroundings.
const STASH_BYTES_MAX: usize = summary::SESSION_STATE_BYTES_MAX + 4096;
/// A stash that has grown beyond this is given back between two responses.
const STASH_BYTES_KEPT: usize = 4096;
/// The longest file name that we relay in a LOCAL INFILE request; longer ones no client could open.
const INFILE_NAME_BYTES_MAX: usize = 4096;
/// The most columns that a result may announce. Only tables have few: a list of 68,001 literals is a result as any other.
const COLUMNS_MAX: u64 = u32::MAX as u64;
/// An EOF packet is shorter than this; a row that starts with 0xFE is not.
const EOF_BYTES_BELOW: usize = 9;

/// What shape of response a command has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// COM_QUERY, COM_PROCESS_INFO: OK, ERR, LOCAL INFILE or result sets.
    Query,
    /// COM_STMT_EXECUTE that asks for a cursor: as a query, and one may be opened. Without that, `Query` is right.
    Execute,
    /// COM_STMT_PREPARE.
    Prepare,
    /// COM_STMT_FETCH: rows at once.
    Fetch,
    /// COM_FIELD_LIST: column definitions at once.
    FieldList,
    /// One packet: OK, EOF or ERR.
    Simple,
    /// COM_STATISTICS: one packet of text.
    Statistics,
    /// COM_BINLOG_DUMP: events until EOF or ERR.
    Binlog,
}

impl Expect {
    /// What to expect of a command; `None` for those that have no answer.
    pub fn of(command: Command) -> Option<Self> {
        Some(match command {
            Command::Query | Command::ProcessInfo => Self::Query,
            Command::StmtExecute | Command::StmtBulkExecute => Self::Execute,
            Command::StmtPrepare => Self::Prepare,
            Command::StmtFetch => Self::Fetch,
            Command::FieldList => Self::FieldList,
            Command::Statistics => Self::Statistics,
            Command::BinlogDump | Command::BinlogDumpGtid => Self::Binlog,
            Command::Quit | Command::StmtSendLongData | Command::StmtClose => return None,
            _ => Self::Simple,
        })
    }
}

/// What a [`ResponseMachine::feed`] found.
#[derive(Debug)]
pub struct Fed {
    /// How many of the bytes belong to this response. Less than all only together with an event, behind an OK packet that is
    /// handed over, or before a packet that must be whole ([`ResponseMachine::hold_back`]): then the caller reads more.
    pub consumed: usize,
    /// What happened at the end of the consumed bytes.
    pub event: Option<Event>,
    /// So many of the last consumed bytes are an OK packet with a text or session state, to be looked at before it goes on.
    /// 0 without [`ResponseMachine::hold_back`].
    pub ok_bytes: usize,
}

/// What can happen in a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The response is complete. No heap parts unless there was an error or session state.
    Done(Summary),
    /// The server wants a file of the client. Relay the request, then the client's packets up to the empty one,
    /// then call [`ResponseMachine::infile_sent`] and go on with the server's bytes.
    LocalInfile {
        /// The file's name as the server wants it.
        name: Vec<u8>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The first packet of a result: OK, ERR, LOCAL INFILE or a column count.
    Head,
    /// Column definitions still to come.
    Columns(u32),
    /// The EOF after column definitions (old protocol).
    ColumnsEof,
    /// Rows, until EOF, OK or ERR.
    Rows,
    /// Answer to PREPARE.
    PrepareHead,
    /// Parameter definitions of a PREPARE still to come, then column definitions.
    PrepareParams(u32, u32),
    /// The EOF after parameter definitions; column definitions still to come.
    PrepareParamsEof(u32),
    /// Column definitions of a PREPARE still to come.
    PrepareColumns(u32),
    /// The EOF after them.
    PrepareColumnsEof,
    /// Column definitions until EOF or OK.
    FieldList,
    /// One packet.
    Simple,
    /// One packet of text.
    Statistics,
    /// The client's file is on its way.
    Infile,
    /// The response ends with the packet that is being passed over.
    Finishing,
    /// Nothing more may come.
    Done,
    /// The stream made no sense; it never will again.
    Failed(ProtocolError),
}

/// What to do with the packet whose header was just read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// Pass over it.
    Skip,
    /// Read it.
    Read,
}

fn fed(consumed: usize, event: Option<Event>) -> Fed {
    Fed {
        consumed,
        event,
        ok_bytes: 0,
    }
}

/// Whether a whole packet without payload stands at `at`.
fn is_empty_packet(bytes: &[u8], at: usize) -> bool {
    matches!(bytes.get(at..), Some([0, 0, 0, _]))
}

/// The machine. One per connection, re-used from command to command by [`reset`](Self::reset).
///
/// ```text
///            OK, ERR, column count                 EOF / OK: more results
///  Head ------------------------------> ... <---------------------------------+
///   |  0xFB: LocalInfile -> Infile -> Head                                    |
///   |  count                                                                  |
///   +--> Columns(n) --> [ColumnsEof] --> Rows --EOF / OK--> Done, or Head ----+
///                          cursor: Done     \--ERR--> Done
/// ```
#[derive(Debug)]
pub struct ResponseMachine {
    state: State,
    caps: u32,
    is_execute: bool,
    has_results: bool,
    /// The EOF before the rows said that a result follows, in a place where the one behind them does not.
    is_followed: bool,
    /// OK packets with more than numbers are handed over whole.
    holds_back: bool,
    holds_all: bool,
    /// Length of such a packet that has just been read, with its header.
    ok_bytes: usize,
    /// Payload bytes of the current packet still to pass over.
    skip_bytes: usize,
    /// Payload bytes of the current packet still to read into the stash (or past it, when the stash is full).
    read_bytes: usize,
    /// Length of the payload that is being read.
    payload_bytes: usize,
    /// The current logical packet goes on in the next physical one.
    is_continued: bool,
    /// The next sequence number; `None` before the first packet and after the client has sent something.
    sequence: Option<u8>,
    /// A header, and the first payload byte, that came in pieces.
    head: [u8; HEADER_BYTES + 1],
    head_bytes: usize,
    stash: Vec<u8>,
    bytes: u64,
    summary: Summary,
    /// The session state buffer of an earlier summary, emptied.
    spare: Vec<u8>,
}

impl ResponseMachine {
    /// A machine for one response on a connection with these capabilities.
    pub fn new(expect: Expect, caps: u32) -> Self {
        let mut machine = Self {
            state: State::Done,
            caps,
            is_execute: false,
            has_results: false,
            is_followed: false,
            holds_back: false,
            holds_all: false,
            ok_bytes: 0,
            skip_bytes: 0,
            read_bytes: 0,
            payload_bytes: 0,
            is_continued: false,
            sequence: None,
            head: [0; HEADER_BYTES + 1],
            head_bytes: 0,
            stash: Vec::new(),
            bytes: 0,
            summary: Summary::default(),
            spare: Vec::new(),
        };
        machine.reset(expect, caps);
        machine
    }

    /// Makes the machine ready for the next response. Keeps its buffers.
    pub fn reset(&mut self, expect: Expect, caps: u32) {
        self.caps = caps;
        self.is_execute = expect == Expect::Execute;
        self.has_results = matches!(expect, Expect::Query | Expect::Execute);
        self.state = match expect {
            Expect::Query | Expect::Execute => State::Head,
            Expect::Prepare => State::PrepareHead,
            Expect::Fetch | Expect::Binlog => State::Rows,
            Expect::FieldList => State::FieldList,
            Expect::Simple => State::Simple,
            Expect::Statistics => State::Statistics,
        };
        self.is_followed = false;
        (self.holds_back, self.holds_all) = (false, false);
        self.ok_bytes = 0;
        self.skip_bytes = 0;
        self.read_bytes = 0;
        self.is_continued = false;
        self.sequence = None;
        self.head_bytes = 0;
        self.stash.clear();
        self.stash.shrink_to(STASH_BYTES_KEPT);
        self.bytes = 0;
        self.summary = Summary::default();
    }

    /// From now to the next reset, OK packets that say more than numbers are handed over whole ([`Fed::ok_bytes`]).
    pub fn hold_back(&mut self) {
        self.holds_back = true;
    }

    /// The same for all OK packets.
    pub fn hold_all(&mut self) {
        (self.holds_back, self.holds_all) = (true, true);
    }

    /// Gives a finished summary's buffer back, so that the next response with session state does not allocate.
    pub fn recycle(&mut self, summary: Summary) {
        if let Some(mut buffer) = summary.session_state {
            buffer.clear();
            buffer.shrink_to(STASH_BYTES_KEPT);
            self.spare = buffer;
        }
    }

    /// The summary so far: rows and bytes of a response that is still under way.
    pub fn progress(&self) -> &Summary {
        &self.summary
    }

    /// True when the response is complete.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// The sequence number that a packet of ours in this place would have; `None` inside a packet, where none can be put.
    pub fn next_sequence(&self) -> Option<u8> {
        let between = self.skip_bytes == 0
            && self.read_bytes == 0
            && self.head_bytes == 0
            && !self.is_continued;
        between.then(|| self.sequence.unwrap_or(1))
    }

    /// True if nothing of the response has been seen yet.
    pub fn is_untouched(&self) -> bool {
        self.bytes == 0
    }

    /// The client's file has been relayed to its end: the server answers now.
    pub fn infile_sent(&mut self) {
        if matches!(self.state, State::Infile) {
            self.state = State::Head;
            self.sequence = None;
        }
    }

    /// Takes the next bytes of the stream. Consumes all of them, or up to an event.
    /// An error means that the stream is lost: close the connection; every later call answers the same error.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Fed> {
        match self.walk(bytes) {
            Ok(mut fed) => {
                self.bytes += fed.consumed as u64;
                match &mut fed.event {
                    Some(Event::Done(summary)) => summary.bytes = self.bytes,
                    _ => self.summary.bytes = self.bytes,
                }
                Ok(fed)
            }
            Err(error) => {
                self.state = State::Failed(error);
                Err(error)
            }
        }
    }

    fn walk(&mut self, bytes: &[u8]) -> Result<Fed> {
        let mut at = 0;
        loop {
            if self.skip_bytes > 0 {
                let n = self.skip_bytes.min(bytes.len() - at);
                self.skip_bytes -= n;
                at += n;
            }
            if matches!(self.state, State::Finishing) && self.skip_bytes == 0 && !self.is_continued
            {
                return Ok(fed(at, Some(self.done())));
            }
            if at == bytes.len() {
                return Ok(fed(at, None));
            }
            let before = at;
            let event;
            (at, event) = match self.read_bytes > 0 {
                true => self.payload_in_pieces(bytes, at)?,
                false => self.headers(bytes, at)?,
            };
            let ok_bytes = std::mem::take(&mut self.ok_bytes);
            if event.is_some() || ok_bytes > 0 {
                return Ok(Fed {
                    consumed: at,
                    event,
                    ok_bytes,
                });
            }
            if at == before && self.holds_back {
                // Not all of it is here.
                return Ok(fed(at, None));
            }
        }
    }

    /// Definitions and rows as long as there are any, then one header.
    #[inline]
    fn headers(&mut self, bytes: &[u8], mut at: usize) -> Result<(usize, Option<Event>)> {
        let is_between = self.head_bytes == 0 && !self.is_continued;
        match self.state {
            State::Rows if is_between => at = self.pass_rows(bytes, at),
            State::Columns(left) if is_between => at = self.pass_definitions(bytes, at, left),
            _ => self.expect_more()?,
        }
        if at == bytes.len() {
            return Ok((at, None));
        }
        self.one_header(bytes, at)
    }

    fn payload_in_pieces(&mut self, bytes: &[u8], mut at: usize) -> Result<(usize, Option<Event>)> {
        let n = self.read_bytes.min(bytes.len() - at);
        let kept = n.min(STASH_BYTES_MAX.saturating_sub(self.stash.len()));
        self.stash.extend_from_slice(&bytes[at..at + kept]);
        self.read_bytes -= n;
        at += n;
        if self.read_bytes > 0 {
            return Ok((at, None));
        }
        let stash = std::mem::take(&mut self.stash);
        let event = self.on_payload(&stash);
        self.stash = stash;
        self.stash.clear();
        Ok((at, event?))
    }

    /// An error where the server has nothing to say and speaks all the same.
    fn expect_more(&self) -> Result<()> {
        match self.state {
            State::Done | State::Finishing if !self.is_continued => {
                Err(ProtocolError::Unexpected("a complete response"))
            }
            State::Infile => Err(ProtocolError::Unexpected("a file transfer")),
            State::Failed(error) => Err(error),
            _ => Ok(()),
        }
    }

    /// The hot loop: passes over plain rows from header to header. Stops before anything that is not one.
    #[inline]
    fn pass_rows(&mut self, bytes: &[u8], mut at: usize) -> usize {
        let Some(mut sequence) = self.sequence else {
            return at;
        };
        let mut rows = 0;
        while let Some(&[a, b, c, number, first]) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
            let length = u32::from_le_bytes([a, b, c, 0]) as usize;
            // One test each: no terminator, neither empty nor continued, in order.
            if first >= EOF_HEADER
                || length.wrapping_sub(1) >= PAYLOAD_BYTES_MAX - 1
                || number != sequence
            {
                break;
            }
            sequence = sequence.wrapping_add(1);
            rows += 1;
            at += HEADER_BYTES + length;
        }
        self.sequence = Some(sequence);
        self.summary.rows += rows;
        if at > bytes.len() {
            self.skip_bytes = at - bytes.len();
            at = bytes.len();
        }
        at
    }

    /// The same for definitions of columns that are whole and here; the last one is left, since what follows it is another matter.
    #[inline]
    fn pass_definitions(&mut self, bytes: &[u8], mut at: usize, mut left: u32) -> usize {
        let Some(mut sequence) = self.sequence else {
            return at;
        };
        while left > 1
            && let Some(&[a, b, c, number, first]) = bytes.get(at..).and_then(<[u8]>::first_chunk)
        {
            let length = u32::from_le_bytes([a, b, c, 0]) as usize;
            let is_here = bytes.len() - at >= HEADER_BYTES + length;
            let is_whole = length > 0 && length < PAYLOAD_BYTES_MAX;
            if first == ERR_HEADER || !is_whole || !is_here || number != sequence {
                break;
            }
            sequence = sequence.wrapping_add(1);
            left -= 1;
            at += HEADER_BYTES + length;
        }
        self.sequence = Some(sequence);
        self.state = State::Columns(left);
        at
    }

    /// Reads one header (and the first payload byte) at `at`, whole or in pieces; reads the payload too if it is here.
    fn one_header(&mut self, bytes: &[u8], mut at: usize) -> Result<(usize, Option<Event>)> {
        if self.head_bytes == 0
            && let Some(&[a, b, c, number, first]) = bytes.get(at..).and_then(<[u8]>::first_chunk)
        {
            let length = u32::from_le_bytes([a, b, c, 0]) as usize;
            if length > 0 {
                let here = bytes.len() - at >= HEADER_BYTES + length;
                if self.holds_back
                    && !here
                    && length <= STASH_BYTES_MAX
                    && self.plan(length, first) == Plan::Read
                {
                    return Ok((at, None));
                }
                at += HEADER_BYTES;
                if self.on_header(length, number, first)? == Plan::Skip {
                    self.skip_bytes = length;
                    return Ok((at, None));
                }
                self.payload_bytes = length;
                if let Some(payload) = bytes.get(at..at + length) {
                    let says_more = self.holds_back && self.is_talkative_ok(payload);
                    let event = self.on_payload(payload)?;
                    self.ok_bytes = if says_more { HEADER_BYTES + length } else { 0 };
                    return Ok((at + length, event));
                }
                self.read_bytes = length;
                return Ok((at, None));
            }
        } else if self.holds_back && self.head_bytes == 0 && !is_empty_packet(bytes, at) {
            return Ok((at, None));
        }
        self.header_in_pieces(bytes, at)
    }

    #[cold]
    fn header_in_pieces(&mut self, bytes: &[u8], mut at: usize) -> Result<(usize, Option<Event>)> {
        while let (Some(place), Some(&byte)) = (self.head.get_mut(self.head_bytes), bytes.get(at)) {
            *place = byte;
            self.head_bytes += 1;
            at += 1;
            if self.head_bytes == HEADER_BYTES && self.head[..3] == [0; 3] {
                break; // an empty payload has no first byte
            }
        }
        let [a, b, c, number, first] = self.head;
        let length = u32::from_le_bytes([a, b, c, 0]) as usize;
        if self.head_bytes < HEADER_BYTES || (self.head_bytes == HEADER_BYTES && length > 0) {
            return Ok((at, None));
        }
        self.head_bytes = 0;
        if length == 0 {
            self.on_empty(number)?;
        } else if self.on_header(length, number, first)? == Plan::Skip {
            self.skip_bytes = length - 1;
        } else {
            self.payload_bytes = length;
            if length == 1 {
                return Ok((at, self.on_payload(&[first])?));
            }
            self.stash.push(first);
            self.read_bytes = length - 1;
        }
        Ok((at, None))
    }

    fn on_sequence(&mut self, number: u8) -> Result<()> {
        if let Some(expected) = self.sequence.filter(|&expected| expected != number) {
            return Err(ProtocolError::Sequence {
                expected,
                got: number,
            });
        }
        self.sequence = Some(number.wrapping_add(1));
        Ok(())
    }

    /// An empty payload is only ever the end of a packet whose length is a multiple of 16 MiB - 1, or an empty text.
    fn on_empty(&mut self, number: u8) -> Result<()> {
        self.on_sequence(number)?;
        if self.is_continued {
            self.is_continued = false;
            return Ok(());
        }
        Err(ProtocolError::Malformed("empty packet of a response"))
    }

    /// Judges a packet by its length and first byte.
    fn on_header(&mut self, length: usize, number: u8, first: u8) -> Result<Plan> {
        self.on_sequence(number)?;
        let plan = self.plan(length, first);
        let was_continued = std::mem::replace(&mut self.is_continued, length == PAYLOAD_BYTES_MAX);
        if was_continued {
            return Ok(Plan::Skip);
        }
        match self.state {
            State::Rows if plan == Plan::Skip => self.summary.rows += 1,
            State::FieldList if plan == Plan::Skip => {
                self.summary.columns = self.summary.columns.saturating_add(1);
            }
            _ if plan == Plan::Skip => self.after_definition(),
            _ => {}
        }
        if plan == Plan::Read && self.is_continued {
            return Err(ProtocolError::TooLarge {
                what: "control packet of a response",
                bytes_max: PAYLOAD_BYTES_MAX - 1,
            });
        }
        Ok(plan)
    }

    /// What is to be done with a packet of this length and first byte.
    fn plan(&self, length: usize, first: u8) -> Plan {
        let passed = match self.state {
            _ if self.is_continued => true,
            State::Rows | State::FieldList => !self.ends_rows(first, length),
            State::Columns(_) | State::PrepareParams(..) | State::PrepareColumns(_) => {
                first != ERR_HEADER
            }
            _ => false,
        };
        if passed { Plan::Skip } else { Plan::Read }
    }

    /// An OK packet in its place, with something behind its numbers.
    fn is_talkative_ok(&self, payload: &[u8]) -> bool {
        let mut cursor = Cursor::new(payload);
        let is_ok = match (self.state, cursor.u8()) {
            (State::Head | State::Simple, Some(OK_HEADER)) => true,
            (State::Rows | State::FieldList, Some(EOF_HEADER)) => self.deprecates_eof(),
            _ => false,
        };
        let mut numbers = || {
            cursor.lenenc()?;
            cursor.lenenc()?;
            cursor.bytes(4)
        };
        is_ok && numbers().is_some() && (self.holds_all || !cursor.is_empty())
    }

    fn ends_rows(&self, first: u8, length: usize) -> bool {
        match first {
            ERR_HEADER => true,
            // A text of 16 MiB or more has this first byte too, but then its packet is continued.
            EOF_HEADER if self.deprecates_eof() => length < PAYLOAD_BYTES_MAX,
            EOF_HEADER => length < EOF_BYTES_BELOW,
            _ => false,
        }
    }

    fn deprecates_eof(&self) -> bool {
        self.caps & capability::DEPRECATE_EOF != 0
    }

    fn after_definition(&mut self) {
        let eof = !self.deprecates_eof();
        self.state = match self.state {
            State::Columns(left) if left > 1 => State::Columns(left - 1),
            State::Columns(_) if eof => State::ColumnsEof,
            State::Columns(_) => State::Rows,
            State::PrepareParams(left, columns) if left > 1 => {
                State::PrepareParams(left - 1, columns)
            }
            State::PrepareParams(_, columns) if eof => State::PrepareParamsEof(columns),
            State::PrepareParams(_, columns) if columns > 0 => State::PrepareColumns(columns),
            State::PrepareColumns(left) if left > 1 => State::PrepareColumns(left - 1),
            State::PrepareColumns(_) if eof => State::PrepareColumnsEof,
            _ => State::Finishing,
        };
    }

    /// Reads a packet that matters. `payload` may be cut at the stash's bound; `self.payload_bytes` is its true length.
    fn on_payload(&mut self, payload: &[u8]) -> Result<Option<Event>> {
        let first = payload
            .first()
            .copied()
            .ok_or(ProtocolError::Malformed("response"))?;
        if first == ERR_HEADER {
            return self.on_error(payload);
        }
        match self.state {
            State::Head => self.on_head(first, payload),
            State::ColumnsEof if first == EOF_HEADER => self.on_columns_eof(payload),
            State::Rows | State::FieldList => self.on_end(payload),
            State::Simple if matches!(first, OK_HEADER | EOF_HEADER) => self.on_end(payload),
            State::PrepareHead => self.on_prepare_ok(payload),
            State::PrepareParamsEof(columns) if first == EOF_HEADER && columns > 0 => {
                self.state = State::PrepareColumns(columns);
                Ok(None)
            }
            State::PrepareParamsEof(_) | State::PrepareColumnsEof if first == EOF_HEADER => {
                Ok(Some(self.done()))
            }
            State::Statistics => Ok(Some(self.done())),
            _ => Err(ProtocolError::Unexpected("a response")),
        }
    }

    fn on_head(&mut self, first: u8, payload: &[u8]) -> Result<Option<Event>> {
        match first {
            OK_HEADER => self.on_end(payload),
            LOCAL_INFILE_HEADER => {
                if self.payload_bytes > INFILE_NAME_BYTES_MAX {
                    return Err(ProtocolError::TooLarge {
                        what: "file name of LOCAL INFILE",
                        bytes_max: INFILE_NAME_BYTES_MAX,
                    });
                }
                self.state = State::Infile;
                self.summary.had_infile = true;
                let name = payload.get(1..).unwrap_or_default().to_vec();
                Ok(Some(Event::LocalInfile { name }))
            }
            _ => {
                let mut cursor = Cursor::new(payload);
                let count = cursor
                    .lenenc()
                    .filter(|&count| count <= COLUMNS_MAX && cursor.is_empty());
                let count = count.ok_or(ProtocolError::Malformed("column count"))? as u32;
                self.summary.result_sets = self.summary.result_sets.saturating_add(1);
                self.summary.columns = count;
                self.state = State::Columns(count);
                Ok(None)
            }
        }
    }

    /// The EOF between column definitions and rows. With a cursor it is the end: rows are fetched.
    fn on_columns_eof(&mut self, payload: &[u8]) -> Result<Option<Event>> {
        let bits = self
            .summary
            .end(payload, self.payload_bytes, self.caps, &mut self.spare)?;
        if self.is_execute && bits & status::CURSOR_EXISTS != 0 {
            self.summary.has_cursor = true;
            return Ok(self.done_or_more(bits));
        }
        // With OUT parameters only this first EOF tells that an OK follows the rows; the last one does not repeat it.
        self.is_followed = bits & status::PS_OUT_PARAMS != 0 && bits & status::MORE_RESULTS != 0;
        self.state = State::Rows;
        Ok(None)
    }

    /// The OK or EOF that ends a result.
    fn on_end(&mut self, payload: &[u8]) -> Result<Option<Event>> {
        let bits = self
            .summary
            .end(payload, self.payload_bytes, self.caps, &mut self.spare)?;
        self.summary.has_cursor |= self.is_execute && bits & status::CURSOR_EXISTS != 0;
        let followed = std::mem::take(&mut self.is_followed);
        let more = if followed { status::MORE_RESULTS } else { 0 };
        Ok(self.done_or_more(bits | more))
    }

    fn done_or_more(&mut self, bits: u16) -> Option<Event> {
        // Elsewhere the bit could only be left over from a statement before.
        if bits & status::MORE_RESULTS != 0 && self.has_results {
            self.state = State::Head;
            return None;
        }
        Some(self.done())
    }

    fn on_prepare_ok(&mut self, payload: &[u8]) -> Result<Option<Event>> {
        let prepared = PrepareOk::parse(payload)?;
        self.summary.prepared = Some(prepared);
        self.summary.warnings = prepared.warnings;
        self.summary.columns = u32::from(prepared.columns);
        self.state = match (u32::from(prepared.params), u32::from(prepared.columns)) {
            (0, 0) => return Ok(Some(self.done())),
            (0, columns) => State::PrepareColumns(columns),
            (params, columns) => State::PrepareParams(params, columns),
        };
        Ok(None)
    }

    fn on_error(&mut self, payload: &[u8]) -> Result<Option<Event>> {
        let error = ErrPacket::parse(payload)?;
        let tells_progress = self.caps & capability::CAPABILITY_EXTENSION != 0;
        if error.code == PROGRESS_ERROR_CODE && tells_progress {
            // MariaDB says how far a long statement is, in the middle of anything, and does not count on in sequence. To who has not
            // asked for that, it is an error as any other: SIGNAL may choose the number.
            self.sequence = None;
            return Ok(None);
        }
        self.summary.fail(error);
        Ok(Some(self.done()))
    }

    fn done(&mut self) -> Event {
        self.state = State::Done;
        Event::Done(std::mem::take(&mut self.summary))
    }
}
