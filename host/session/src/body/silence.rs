//! What counts as progress on a stream of server-sent events: anything outside comment lines.
//!
//! A provider or a gateway keeps a dead stream open with comments (`: keep-alive`); they must not hold off
//! `body.timeout`. This is a line scanner, not a parser: a comment is a line that begins with a colon, lines end with CR,
//! LF or CRLF, and an empty line alone is no news (HTML Living Standard, section 9.2.5).

/// Where in a line the scanner is, between two pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Comments {
    #[default]
    LineStart,
    Comment,
    Line,
}

impl Comments {
    /// Looks at the next piece; true if it holds a byte outside comment lines.
    pub(super) fn progress(&mut self, piece: &[u8]) -> bool {
        let mut news = false;
        for byte in piece {
            *self = match (*self, byte) {
                (_, b'\r' | b'\n') => Self::LineStart,
                (Self::LineStart, b':') | (Self::Comment, _) => Self::Comment,
                (Self::LineStart | Self::Line, _) => {
                    news = true;
                    Self::Line
                }
            };
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_no_progress_at_any_cut() {
        let text = b": one\n\n: two\r\n\r\n:\r:";
        for cut in 0..text.len() {
            let mut comments = Comments::default();
            assert!(!comments.progress(&text[..cut]) && !comments.progress(&text[cut..]), "{cut}");
        }
    }

    #[test]
    fn data_is_progress() {
        for text in ["data: x\n\n", ": c\ndata: x", "x", ": c\r\n\r\ndata"] {
            assert!(Comments::default().progress(text.as_bytes()), "{text}");
        }
    }
}
