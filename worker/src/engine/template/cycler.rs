//! Jinja's `cycler`: values that come one after the other, and again from the first.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::value::{Enumerator, Object, ObjectRepr, Rest, Value, from_args};
use minijinja::{Error, ErrorKind, State};

#[derive(Debug)]
struct Cycler {
    items: Vec<Value>,
    place: AtomicUsize,
}

/// A cycler of `items`.
///
/// # Errors
/// When there is none.
pub(super) fn cycler(Rest(items): Rest<Value>) -> Result<Value, Error> {
    if items.is_empty() {
        return Err(Error::new(ErrorKind::InvalidOperation, "a cycler has at least one item"));
    }
    Ok(Value::from_object(Cycler { items, place: AtomicUsize::new(0) }))
}

impl Cycler {
    fn current(&self) -> Value {
        let place = self.place.load(Ordering::Relaxed);
        self.items.get(place).cloned().unwrap_or_default()
    }
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        (key.as_str() == Some("current")).then(|| self.current())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        let () = from_args(args)?;
        let place = self.place.load(Ordering::Relaxed);
        match method {
            "next" => {
                let current = self.current();
                let next = (place + 1) % self.items.len().max(1);
                self.place.store(next, Ordering::Relaxed);
                Ok(current)
            }
            "reset" => {
                self.place.store(0, Ordering::Relaxed);
                Ok(Value::from(()))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}
