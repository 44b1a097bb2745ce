//! Raw text from programs as events.

use service::protocol::Payload;
use service::protocol::event::{AgentEvent, Step, Stream};

use crate::lines::Piece;

/// Emits a piece of output: one event for each line, without its line break. The first piece of a
/// line that comes in several is announced by a notice.
pub(crate) fn emit(step: Step, stream: Stream, piece: &Piece<'_>, emit: &mut dyn FnMut(Payload)) {
    if matches!(piece, Piece::LongStart(_)) {
        emit(notice("long_line", "a line of output is too long and comes in several pieces"));
    }
    let text = String::from_utf8_lossy(piece.bytes()).into_owned();
    emit(Payload::Output { step, stream, text, encoding: None });
}

/// Something that a reader should know and that ends nothing.
pub(crate) fn notice(code: &str, message: impl Into<String>) -> Payload {
    Payload::Agent(AgentEvent::Notice { code: code.to_owned(), message: message.into() })
}
