//! The admin session as a backend of opensrv-mysql: opensrv parses commands and writes responses, `conversation` answers.
//! What opensrv cannot say (errors it has no name for, whole column definitions) is left in `Reply`, and `front` puts it in
//! while the response passes.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use opensrv_mysql::{
    AsyncMysqlShim, ErrorKind, InitWriter, OkResponse, ParamParser, QueryResultWriter,
    StatementMetaWriter, StatusFlags, ValueInner,
};
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use tokio::sync::{Mutex as AsyncMutex, Notify};

use super::conversation::{Conversation, Outcome};
use super::engine::{ResultColumn, ResultSet};
use super::error::Error;
use super::value::Value;
use super::wire::{self, Cell};

/// What the response that opensrv writes now should say instead.
#[derive(Debug, Default)]
pub struct Reply {
    /// Payloads of the column definitions, in the order in which they are sent.
    pub definitions: Vec<Vec<u8>>,
    /// The error.
    pub error: Option<Error>,
}

/// What both sides of opensrv share.
pub struct Shared {
    /// The session. Locked by one command at a time; the two sides never work at once.
    pub conversation: AsyncMutex<Conversation>,
    /// For the response on its way.
    pub reply: Mutex<Reply>,
    /// opensrv has taken a COM_STMT_CLOSE, which has no response.
    pub closed: Notify,
}

/// The opensrv side.
pub struct Shim(pub Arc<Shared>);

/// The OK of a statement without rows.
fn done() -> OkResponse {
    OkResponse {
        status_flags: StatusFlags::SERVER_STATUS_AUTOCOMMIT,
        ..OkResponse::default()
    }
}

impl Shim {
    /// Leaves the error for the front and tells opensrv to send one.
    fn fail(&self, error: Error) -> ErrorKind {
        self.0.reply.lock().error = Some(error);
        ErrorKind::ER_UNKNOWN_ERROR
    }

    fn define(&self, columns: &[ResultColumn]) {
        self.0
            .reply
            .lock()
            .definitions
            .extend(columns.iter().map(wire::definition));
    }

    async fn answer<W: AsyncWrite + Send + Unpin>(
        &self,
        outcome: Result<Outcome, Error>,
        results: QueryResultWriter<'_, W>,
    ) -> io::Result<()> {
        match outcome {
            Err(error) => results.error(self.fail(error), &b"error"[..]).await,
            Ok(Outcome::Done) => results.completed(done()).await,
            Ok(Outcome::Changed(rows)) => {
                let changed = OkResponse {
                    affected_rows: rows,
                    ..done()
                };
                results.completed(changed).await
            }
            Ok(Outcome::Rows(result)) => self.rows(&result, results).await,
        }
    }

    async fn rows<W: AsyncWrite + Send + Unpin>(
        &self,
        result: &ResultSet,
        results: QueryResultWriter<'_, W>,
    ) -> io::Result<()> {
        self.define(&result.columns);
        let columns: Vec<_> = result.columns.iter().map(wire::opensrv_column).collect();
        let mut writer = results.start(&columns).await?;
        for row in &result.rows {
            for (value, column) in row.iter().zip(&result.columns) {
                let kind = column.kind;
                writer.write_col(Cell { value, kind })?;
            }
            writer.end_row().await?;
        }
        writer.finish().await
    }
}

/// Parameters as the front wrote them: whole numbers, floating point numbers, text.
fn parameters(parser: ParamParser<'_>) -> Result<Vec<Value>, Error> {
    parser
        .into_iter()
        .map(|parameter| match parameter.value.into_inner() {
            ValueInner::NULL => Ok(Value::Null),
            ValueInner::Int(number) => Ok(Value::Int(number)),
            ValueInner::UInt(number) => Ok(Value::from(number)),
            ValueInner::Double(number) => Ok(Value::from(number)),
            ValueInner::Bytes(bytes) => std::str::from_utf8(bytes)
                .map(Value::from)
                .map_err(|_| Error::NotUtf8),
            _ => Err(Error::Internal(
                "a parameter that the front does not write".to_owned(),
            )),
        })
        .collect()
}

#[async_trait]
impl<W: AsyncWrite + Send + Unpin> AsyncMysqlShim<W> for Shim {
    type Error = io::Error;

    fn version(&self) -> String {
        super::version().to_owned()
    }

    async fn on_prepare<'a>(
        &'a mut self,
        query: &'a str,
        info: StatementMetaWriter<'a, W>,
    ) -> io::Result<()> {
        let prepared = self.0.conversation.lock().await.prepare(query).await;
        let (id, description) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return info.error(self.fail(error), &b"error"[..]).await,
        };
        {
            let mut reply = self.0.reply.lock();
            reply
                .definitions
                .extend((0..description.parameters).map(|_| wire::parameter_definition()));
        }
        self.define(&description.columns);
        let parameter = wire::opensrv_column(&ResultColumn {
            name: "?".to_owned(),
            kind: super::typing::TEXT,
            origin: None,
        });
        let parameters = vec![parameter; description.parameters];
        let columns: Vec<_> = description
            .columns
            .iter()
            .map(wire::opensrv_column)
            .collect();
        info.reply(id, &parameters, &columns).await
    }

    async fn on_execute<'a>(
        &'a mut self,
        id: u32,
        params: ParamParser<'a>,
        results: QueryResultWriter<'a, W>,
    ) -> io::Result<()> {
        let outcome = match parameters(params) {
            Ok(values) => self.0.conversation.lock().await.execute(id, values).await,
            Err(error) => Err(error),
        };
        self.answer(outcome, results).await
    }

    async fn on_close<'a>(&'a mut self, _: u32)
    where
        W: 'async_trait,
    {
        // The front has done it, and waits to hear that nothing of this command is left in the pipe.
        self.0.closed.notify_one();
    }

    async fn on_query<'a>(
        &'a mut self,
        query: &'a str,
        results: QueryResultWriter<'a, W>,
    ) -> io::Result<()> {
        let outcome = self
            .0
            .conversation
            .lock()
            .await
            .run(query, Vec::new())
            .await;
        self.answer(outcome, results).await
    }

    async fn on_init<'a>(
        &'a mut self,
        schema: &'a str,
        writer: InitWriter<'a, W>,
    ) -> io::Result<()> {
        let chosen = self.0.conversation.lock().await.choose_schema(schema);
        match chosen {
            Ok(()) => writer.ok().await,
            Err(error) => writer.error(self.fail(error), &b"error"[..]).await,
        }
    }
}
