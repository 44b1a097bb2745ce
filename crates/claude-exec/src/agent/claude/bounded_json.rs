//! A tool's input as a JSON value of bounded size, whatever was sent.

use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::lines::cut;

/// Longest text inside a tool's input.
const MAX_TEXT_BYTES: usize = 64 * 1024;

/// Most texts, numbers, lists and so on in one input; the rest is left out.
const MAX_VALUES: usize = 2_000;

/// Most bytes of all texts together.
const MAX_TOTAL_BYTES: usize = 512 * 1024;

/// Reads JSON into a value, cutting long texts and leaving out what is too much.
pub(super) fn read_bounded(json: &RawValue) -> Value {
    let mut budget = Budget { values: MAX_VALUES, bytes: MAX_TOTAL_BYTES };
    let mut deserializer = serde_json::Deserializer::from_str(json.get());
    // A raw value is well-formed; what is nested too deep to be read comes as null.
    Bounded(&mut budget).deserialize(&mut deserializer).unwrap_or(Value::Null)
}

struct Budget {
    values: usize,
    bytes: usize,
}

impl Budget {
    fn text(&mut self, text: &str) -> String {
        let short = cut(text, MAX_TEXT_BYTES.min(self.bytes));
        self.bytes -= short.len();
        if short.len() == text.len() {
            return text.to_owned();
        }
        format!("{short}… ({} bytes left out)", text.len() - short.len())
    }
}

struct Bounded<'a>(&'a mut Budget);

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        self.0.values = self.0.values.saturating_sub(1);
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(self.0.text(text).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while self.0.values > 0 {
            match items.next_element_seed(Bounded(self.0))? {
                Some(item) => list.push(item),
                None => return Ok(list.into()),
            }
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while self.0.values > 0 {
            let Some(key) = entries.next_key::<String>()? else { return Ok(map.into()) };
            let value = entries.next_value_seed(Bounded(self.0))?;
            map.insert(self.0.text(&key), value);
        }
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Value {
        read_bounded(&serde_json::value::to_raw_value(value).unwrap())
    }

    #[test]
    fn ordinary_input_is_unchanged() {
        let input = json!({"file_path": "/a", "n": [1, -2, 1.5, null, true], "deep": {"x": {}}});
        assert_eq!(read(&input), input);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let read = read(&json!({"path": "/a", "content": "ü".repeat(5_000_000)}));
        assert_eq!(read["path"], "/a");
        let content = read["content"].as_str().unwrap();
        assert!(content.len() < MAX_TEXT_BYTES + 64);
        assert!(content.ends_with("… (9934464 bytes left out)"), "{}", &content[65_530..]);
    }

    #[test]
    fn too_many_values_are_left_out() {
        let read = read(&json!({"list": vec![1; 100_000], "more": 1}));
        assert!(read["list"].as_array().unwrap().len() < MAX_VALUES);
        assert_eq!(read.get("more"), None);
    }

    #[test]
    fn all_texts_together_are_bounded() {
        let read = read(&json!(vec!["x".repeat(MAX_TEXT_BYTES); 100]));
        assert!(read.to_string().len() < MAX_TOTAL_BYTES + 10_000);
    }
}
