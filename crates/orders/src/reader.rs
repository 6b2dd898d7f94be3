//! Takes the fields of a JSON object one by one and collects every error.

use serde_json::{Map, Value};
use wechatpay_v2::FieldError;

use crate::FieldProblem;
use crate::text::{self, Shape};

/// The errors that one answer lists: all 20 fields of an order and some unknown ones. Replies,
/// events and table rows carry the list, so a body must not decide how long it gets.
const ERRORS_MAX: usize = 32;

pub(crate) struct Reader {
    map: Map<String, Value>,
    errors: Vec<FieldProblem>,
}

impl Reader {
    pub(crate) fn new(map: Map<String, Value>) -> Self {
        Self { map, errors: Vec::new() }
    }

    /// The errors, once every known field was taken: what is left in the object is one, too.
    pub(crate) fn finish(mut self) -> Vec<FieldProblem> {
        let rest = std::mem::take(&mut self.map);
        let remaining = ERRORS_MAX - self.errors.len();
        let listed = if rest.len() > remaining { remaining - 1 } else { remaining };
        for name in rest.keys().take(listed) {
            self.wrong(&text::echo(name), "absent: this message has no such field");
        }
        let more = rest.len().saturating_sub(listed);
        if more > 0 {
            let rule = format!("absent: {more} more fields are unknown");
            self.errors.push(FieldProblem::new("*", rule));
        }
        self.errors
    }

    pub(crate) fn wrong(&mut self, field: &str, rule: &str) {
        // A field that is wrong already is not also missing.
        if self.errors.iter().all(|error| error.field != field) {
            self.errors.push(FieldProblem::new(field, rule));
        }
    }

    pub(crate) fn missing(&mut self, field: &str) {
        self.wrong(field, "given");
    }

    pub(crate) fn is_given(&self, field: &str) -> bool {
        self.map.contains_key(field)
    }

    pub(crate) fn get(&self, field: &str) -> Option<&Value> {
        self.map.get(field)
    }

    pub(crate) fn take(&mut self, field: &str) -> Option<Value> {
        self.map.remove(field)
    }

    pub(crate) fn take_string(&mut self, field: &'static str) -> Option<String> {
        match self.take(field)? {
            Value::String(text) => Some(text),
            _ => {
                self.wrong(field, "a string");
                None
            }
        }
    }

    /// `None` when the field is absent or wrong; the wrong one is an error.
    pub(crate) fn optional<T>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(String) -> Result<T, FieldError>,
    ) -> Option<T> {
        match parse(self.take_string(field)?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(field, error.rule);
                None
            }
        }
    }

    /// `None` when the field is absent or wrong; both are errors.
    pub(crate) fn required<T>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(String) -> Result<T, FieldError>,
    ) -> Option<T> {
        let value = self.optional(field, parse);
        if value.is_none() {
            self.missing(field);
        }
        value
    }

    pub(crate) fn text(
        &mut self,
        field: &'static str,
        bytes_max: usize,
        shape: Shape,
    ) -> Option<String> {
        let text = self.take_string(field)?;
        if !text::is_plain(&text, bytes_max) || !(shape.accepts)(&text) {
            let rule = format!(
                "{} of 1 to {bytes_max} bytes of UTF-8 without outer white space, control \
                 characters, line separators or bidirectional controls",
                shape.name
            );
            self.wrong(field, &rule);
            return None;
        }
        Some(text)
    }

    pub(crate) fn literal(&mut self, field: &'static str, literal: &str) -> Option<String> {
        let text = self.take_string(field)?;
        if text != literal {
            self.wrong(field, &format!("the string {literal}"));
            return None;
        }
        Some(text)
    }
}
