//! A JSON object read strictly: a name that appears twice is an error, because two readers that
//! keep different ones would see two different orders.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Value};

pub(crate) struct Object(pub(crate) Map<String, Value>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Object, A::Error> {
        let mut map = Map::new();
        while let Some((name, value)) = access.next_entry::<String, Value>()? {
            if map.insert(name, value).is_some() {
                return Err(de::Error::custom("a name appears twice"));
            }
        }
        Ok(Object(map))
    }
}

/// The error does not use serde's text, which may quote the value.
pub(crate) fn parse(bytes: &[u8]) -> Result<Map<String, Value>, &'static str> {
    serde_json::from_slice::<Object>(bytes).map(|object| object.0).map_err(|error| {
        match error.classify() {
            Category::Data => "not one JSON object with each name once",
            _ => "not well-formed JSON, or nested too deeply",
        }
    })
}
