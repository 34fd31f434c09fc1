//! Bytes of tokens to text that may be shown: whole characters, and nothing that a stop string might still take back.
//!
//! Promises that the pieces joined are the text of all tokens up to the stop string that is completed first (the longest
//! of those completed by the same character), wherever the borders between tokens lie; that no piece ends within a
//! character; and that bytes which are no UTF-8 come out as U+FFFD, as `String::from_utf8_lossy` of the whole would have
//! them. Must not know where bytes come from.

/// The most stop strings of a call, and the most bytes of one.
pub const MOST_STOPS: usize = 16;
pub const LONGEST_STOP: usize = 256;

/// The text of an answer as it comes into being.
pub struct Answer {
    stops: Vec<String>,
    /// The beginning of a character, at most three bytes.
    partial: Vec<u8>,
    /// Text that may be the beginning of a stop string.
    held: String,
    stopped: bool,
}

impl Answer {
    /// `stops` are not empty strings.
    #[must_use]
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops, partial: Vec::new(), held: String::new(), stopped: false }
    }

    /// Whether a stop string was completed: nothing comes after it.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// The text that may be shown after these bytes.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.partial.extend_from_slice(bytes);
        let mut ready = String::new();
        let mut kept = 0;
        for chunk in self.partial.utf8_chunks() {
            kept += chunk.valid().len() + chunk.invalid().len();
            ready.push_str(chunk.valid());
            if chunk.invalid().is_empty() {
                continue;
            }
            if kept == self.partial.len() && is_beginning(chunk.invalid()) {
                kept -= chunk.invalid().len();
                break;
            }
            ready.push(char::REPLACEMENT_CHARACTER);
        }
        self.partial.drain(..kept);
        self.show(&ready)
    }

    /// What was held back, once no more bytes come.
    pub fn finish(&mut self) -> String {
        let mut last = String::new();
        if !std::mem::take(&mut self.partial).is_empty() {
            last = self.show("\u{fffd}");
        }
        if !self.stopped {
            last.push_str(&std::mem::take(&mut self.held));
        }
        last
    }

    fn show(&mut self, text: &str) -> String {
        if self.stopped {
            return String::new();
        }
        let mut shown = String::new();
        for c in text.chars() {
            self.held.push(c);
            let complete = self.stops.iter().filter(|stop| self.held.ends_with(stop.as_str())).map(String::len).max();
            if let Some(len) = complete {
                self.stopped = true;
                self.held.truncate(self.held.len() - len);
                shown.push_str(&std::mem::take(&mut self.held));
                return shown;
            }
            // Only what could still begin a stop string is held.
            let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
            let tail = self.held.ceil_char_boundary(self.held.len().saturating_sub(longest));
            shown.extend(self.held.drain(..tail));
            let mut starts = self.held.char_indices().map(|(at, _)| at);
            let open = starts.find(|at| self.stops.iter().any(|stop| stop.starts_with(&self.held[*at..])));
            shown.extend(self.held.drain(..open.unwrap_or(self.held.len())));
        }
        shown
    }
}

/// Whether bytes are the beginning of a character that needs more.
fn is_beginning(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::Answer;

    fn run(stops: &[&str], pieces: &[&[u8]]) -> (String, bool) {
        let mut answer = Answer::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
        let mut text = String::new();
        for piece in pieces {
            text.push_str(&answer.push(piece));
        }
        text.push_str(&answer.finish());
        (text, answer.stopped())
    }

    #[test]
    fn characters_are_whole_when_tokens_are_not() {
        let mut answer = Answer::new(Vec::new());
        let euro = "€".as_bytes();
        assert_eq!(answer.push(&euro[..1]), "");
        assert_eq!(answer.push(&euro[1..2]), "");
        assert_eq!(answer.push(&[euro[2], b'!']), "€!");
    }

    #[test]
    fn bytes_that_are_no_text_come_out_as_of_the_whole() {
        let bytes = [b"ab\xff".as_slice(), b"\xe2\x82", b"x\xf0\x9f\x98", b"\x80\xc0\xe2", b"\x82"];
        let whole = bytes.concat();
        for size in 1..whole.len() {
            let pieces: Vec<&[u8]> = whole.chunks(size).collect();
            assert_eq!(run(&[], &pieces).0, String::from_utf8_lossy(&whole));
        }
    }

    #[test]
    fn stop_is_found_when_it_straddles_tokens() {
        for size in 1..12 {
            let pieces: Vec<&[u8]> = b"one two STOP three".chunks(size).collect();
            assert_eq!(run(&["STOP"], &pieces), ("one two ".to_owned(), true));
            assert_eq!(run(&["STOPS", "three!"], &pieces), ("one two STOP three".to_owned(), false));
        }
    }

    #[test]
    fn stop_completed_first_wins_when_several_match() {
        for size in 1..8 {
            let pieces: Vec<&[u8]> = b"xaabcd".chunks(size).collect();
            assert_eq!(run(&["abcd", "b"], &pieces), ("xaa".to_owned(), true));
            assert_eq!(run(&["ab", "aab"], &pieces), ("x".to_owned(), true));
        }
    }
}
