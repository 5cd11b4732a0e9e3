//! Text of others, fit to be one line of ours.
//!
//! ```text
//! names, ids, messages ── one_line ──> a cell, a condition, a note: nothing acts on its reader
//! JSON that is ready ──── escaped ───> the same JSON, in which nothing does
//! ```
//!
//! **Guarantees.** What comes out begins no line of its own, holds no sequence
//! that a terminal obeys, and does not show its characters in another order
//! than they have. Letters of every script stay.
//!
//! **Does not do.** It does not tell letters apart that look alike.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character does something to whoever shows it, in place of being shown.
pub const fn acts(c: char) -> bool {
    matches!(
        c,
        // C0 with line breaks, DEL, and C1, which some terminals obey.
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}'
        // Of no width: what holds them looks like what does not.
        | '\u{ad}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}'
        // They turn the order of what follows (UAX #9).
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
        // Annotations and tags, which are not shown.
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

/// One line, with a space in place of each character that [`acts`].
pub fn one_line(text: &str) -> Cow<'_, str> {
    if text.chars().any(acts) {
        text.chars().map(|c| if acts(c) { ' ' } else { c }).collect()
    } else {
        Cow::Borrowed(text)
    }
}

/// The same, of at most so many bytes: what a reader bounds is bounded in bytes.
pub fn short_line(text: &str, most: usize) -> String {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    one_line(text.get(..end.unwrap_or_default()).unwrap_or_default()).into_owned()
}

/// JSON with an escape for each character that [`acts`] and is in a string: of
/// the others, JSON itself allows only white space, which stays.
pub fn escaped(json: &str) -> Cow<'_, str> {
    let stays = |c: char| !acts(c) || matches!(c, '\n' | '\r' | '\t');
    if json.chars().all(stays) {
        return Cow::Borrowed(json);
    }
    let mut text = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if stays(c) {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // A string takes whatever is written.
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_acts_on_its_reader_is_left_and_letters_of_every_script_are() {
        for (text, expected) in [
            ("one\r\ntwo\tthree", "one  two three"),
            ("\u{1b}[31mred\u{1b}[0m", " [31mred [0m"),
            ("\u{9b}31m\u{7f}\0", " 31m  "),
            ("\u{1b}]8;;https://evil.example\u{7}click", " ]8;;https://evil.example click"),
            ("user\u{202e}nimda", "user nimda"),
            ("\u{2066}a\u{2069}\u{200f}\u{61c}", " a   "),
            ("a\u{2028}b\u{2029}c\u{85}d", "a b c d"),
            ("ad\u{200b}min\u{feff}\u{ad}", "ad min  "),
            ("\u{e0041}\u{fffb}", "  "),
            (
                "Zoë Ångström, 名前, שם, نام, 👩\u{200d}💻, क\u{94d}\u{200d}ष",
                "Zoë Ångström, 名前, שם, نام, 👩\u{200d}💻, क\u{94d}\u{200d}ष",
            ),
        ] {
            assert_eq!(one_line(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_short_line_ends_between_characters() {
        for (text, most, expected) in [
            ("", 3, ""),
            ("abc", 3, "abc"),
            ("abcd", 3, "abc"),
            ("aé", 2, "a"),
            ("aé", 3, "aé"),
            ("名", 2, ""),
            ("a\nb", 2, "a "),
            ("é", 0, ""),
        ] {
            assert_eq!(short_line(text, most), expected, "{text:?} {most}");
        }
    }

    #[test]
    fn escaped_json_says_the_same_and_shows_it() {
        let value = serde_json::json!({"a\u{9b}": "\u{1b}[2J\u{202e}\u{e0041}\n\"\\", "b": ["ü", "\u{7f}"]});
        for json in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let text = escaped(&json);
            assert!(!text.replace('\n', "").contains(acts), "{text:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        }
        assert!(matches!(escaped("{\"a\": 1}\n"), Cow::Borrowed(_)));
    }
}
