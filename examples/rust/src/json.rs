//! JSON as a tree: small objects of many sizes, all of which die with the invocation.

use std::collections::BTreeMap;
use std::fmt;

/// A JSON value.
#[derive(Clone, PartialEq, Debug)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A string, escapes resolved.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object.
    Map(BTreeMap<String, Json>),
}

/// Where the text stops being JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// Byte at which it was noticed.
    pub at: usize,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no JSON at byte {}", self.at)
    }
}

impl std::error::Error for ParseError {}

/// What is missing is null.
static NULL: Json = Json::Null;

impl Json {
    /// Parses a document.
    ///
    /// # Errors
    /// If it is no JSON.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut parser = Parser { text: text.as_bytes(), at: 0 };
        let value = parser.value()?;
        parser.space();
        if parser.at == text.len() { Ok(value) } else { parser.error() }
    }

    /// A member of an object; null if there is none.
    pub fn get(&self, key: &str) -> &Json {
        match self {
            Json::Map(members) => members.get(key).unwrap_or(&NULL),
            _ => &NULL,
        }
    }

    /// The items of an array; none if it is something else.
    pub fn items(&self) -> &[Json] {
        match self {
            Json::List(items) => items,
            _ => &[],
        }
    }

    /// The text of a string; empty if it is something else.
    pub fn text(&self) -> &str {
        match self {
            Json::Text(text) => text,
            _ => "",
        }
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn error<T>(&self) -> Result<T, ParseError> {
        Err(ParseError { at: self.at })
    }

    fn space(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    /// Whether the next thing is `byte`, which is passed then.
    fn next_is(&mut self, byte: u8) -> bool {
        self.space();
        let is = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(is);
        is
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, ParseError> {
        if !self.text[self.at..].starts_with(word.as_bytes()) {
            return self.error();
        }
        self.at += word.len();
        Ok(value)
    }

    fn value(&mut self) -> Result<Json, ParseError> {
        self.space();
        match self.text.get(self.at) {
            Some(b'{') => self.map(),
            Some(b'[') => self.list(),
            Some(b'"') => self.string().map(Json::Text),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            _ => self.number(),
        }
    }

    fn map(&mut self) -> Result<Json, ParseError> {
        self.at += 1;
        let mut members = BTreeMap::new();
        if self.next_is(b'}') {
            return Ok(Json::Map(members));
        }
        loop {
            self.space();
            let key = self.string()?;
            if !self.next_is(b':') {
                return self.error();
            }
            members.insert(key, self.value()?);
            if self.next_is(b'}') {
                return Ok(Json::Map(members));
            }
            if !self.next_is(b',') {
                return self.error();
            }
        }
    }

    fn list(&mut self) -> Result<Json, ParseError> {
        self.at += 1;
        let mut items = Vec::new();
        if self.next_is(b']') {
            return Ok(Json::List(items));
        }
        loop {
            items.push(self.value()?);
            if self.next_is(b']') {
                return Ok(Json::List(items));
            }
            if !self.next_is(b',') {
                return self.error();
            }
        }
    }

    fn number(&mut self) -> Result<Json, ParseError> {
        let begin = self.at;
        let part = |b: &u8| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E');
        while self.text.get(self.at).is_some_and(part) {
            self.at += 1;
        }
        let digits = std::str::from_utf8(&self.text[begin..self.at]).unwrap_or_default();
        digits.parse().map(Json::Number).or(Err(ParseError { at: begin }))
    }

    fn string(&mut self) -> Result<String, ParseError> {
        if self.text.get(self.at) != Some(&b'"') {
            return self.error();
        }
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            let Some(&byte) = self.text.get(self.at) else { return self.error() };
            self.at += 1;
            match byte {
                b'"' => return String::from_utf8(bytes).or(self.error()),
                b'\\' => {
                    let character = self.escape()?;
                    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                _ => bytes.push(byte),
            }
        }
    }

    fn escape(&mut self) -> Result<char, ParseError> {
        let Some(&byte) = self.text.get(self.at) else { return self.error() };
        self.at += 1;
        Ok(match byte {
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'u' => {
                let high = self.code_unit()?;
                // A pair of surrogates is one character; half a pair is none.
                if (0xd800..0xdc00).contains(&high) && self.text[self.at..].starts_with(b"\\u") {
                    self.at += 2;
                    let low = self.code_unit()?;
                    char::decode_utf16([high as u16, low as u16]).next()
                } else {
                    char::from_u32(high).map(Ok)
                }
                .and_then(Result::ok)
                .unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            b'"' | b'\\' | b'/' => char::from(byte),
            _ => return self.error(),
        })
    }

    fn code_unit(&mut self) -> Result<u32, ParseError> {
        let digits = self.text.get(self.at..self.at + 4).and_then(|d| std::str::from_utf8(d).ok());
        let value = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        self.at += 4;
        value.ok_or(ParseError { at: self.at - 4 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value() {
        let json = Json::parse(
            r#" {"a":[1,-2.5e3,true,false,null],"b":{},"c":[],"d":"x\ny\u00e9\ud83d\ude00"} "#,
        );
        let json = json.unwrap();
        assert_eq!(json.get("a").items()[1], Json::Number(-2500.0));
        assert_eq!(json.get("a").items()[2..], [Json::Bool(true), Json::Bool(false), Json::Null]);
        assert_eq!(json.get("b"), &Json::Map(BTreeMap::new()));
        assert_eq!(json.get("c").items(), []);
        assert_eq!(json.get("d").text(), "x\ny\u{e9}\u{1f600}");
        assert_eq!(json.get("nothing"), &Json::Null);
    }

    #[test]
    fn errors_say_where() {
        for (text, at) in [("", 0), ("{", 1), ("[1,]", 3), ("[1 2]", 3), ("nul", 0), ("1 x", 2)] {
            assert_eq!(Json::parse(text), Err(ParseError { at }), "{text}");
        }
    }
}
