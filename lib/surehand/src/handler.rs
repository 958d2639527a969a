//! Async functions as handlers.
//!
//! A handler is an `async fn` of at most eight [arguments](crate::extract), which returns `Result<R, E>`: `R`
//! serializes and is the reply of a direct invocation, or is `()`; `E` becomes an [`Error`].
//!
//! You write such functions, and name nothing of this module. The traits are in it because the compiler's
//! messages name them, and for code that is generic over handlers: take `H: Signature<Args> + Handler<Args, S>`,
//! as [`Function::new`](crate::Function::new) does.

use crate::{
    Envelope, Error, Event, Record, Reply, Result,
    description::{ClaimKind, EventType, HandlerDescription},
    event::EventName,
    extract::FromRecord,
};
use futures_util::future::BoxFuture;
use serde::Serialize;
use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    task::{Context, Poll},
};
use tower::Service;

/// An async function of up to eight arguments that can be taken from a record.
///
/// You do not implement it: any `async fn` whose arguments are [`FromRecord`] and whose result is
/// `Result<R, E>` is a handler, with `R: Serialize` (the reply to a direct invocation, ignored for
/// other sources) and `E: Into<Error>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "not an async function of at most 8 arguments",
    note = "a handler is an `async fn` of at most 8 arguments: to pass more, take `Record` or make one `FromRecord` type of several"
)]
pub trait Handler<Args, S>: Signature<Args> + Clone + Send + Sync + 'static {
    /// Returns what is known about the handler of `record` before it runs.
    #[doc(hidden)]
    fn traits(&self, record: &Record) -> HandlerTraits {
        let _ = record;
        HandlerTraits::of::<Self>(false)
    }

    /// Describes the handlers that it consists of.
    #[doc(hidden)]
    fn describe(&self) -> Vec<HandlerDescription> {
        vec![HandlerTraits::of::<Self>(false).describe(None)]
    }

    /// Handles a record.
    fn call(self, record: Record, state: S) -> impl Future<Output = Result<Reply>> + Send;
}

/// What a handler declares about itself.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct HandlerTraits {
    /// The handler's name in logs and failure notes.
    pub(crate) name: &'static str,
    /// Whether the record's claim is committed together with the handler's effects, rather than
    /// made before the handler runs.
    pub(crate) commits: bool,
}

impl HandlerTraits {
    /// Returns the traits of a handler of type `H`. Its name is the last part of its path:
    /// `reserve_stock` for `shop::reserve_stock::reserve_stock`.
    pub(crate) fn of<H>(commits: bool) -> Self {
        let path = std::any::type_name::<H>();
        let path = path.split('<').next().unwrap_or(path);
        let name = path.rsplit("::").find(|part| !part.starts_with('{'));
        Self {
            name: name.unwrap_or(path),
            commits,
        }
    }

    /// Describes the handler of these traits, which takes the event `consumes`, or any record if
    /// none.
    fn describe(self, consumes: Option<EventName>) -> HandlerDescription {
        HandlerDescription {
            name: self.name.to_owned(),
            consumes: consumes.map(Into::into),
            claim: if self.commits {
                ClaimKind::Transaction
            } else {
                ClaimKind::Lease
            },
        }
    }
}

/// An async function of the arguments `Args`, whether or not they can be taken from a record.
///
/// Every function that takes a handler requires this trait first. The arguments are then known, so
/// that the compiler names the one that does not fit instead of the whole function.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "not an async function of at most 8 arguments",
    note = "a handler is an `async fn` of at most 8 arguments"
)]
pub trait Signature<Args> {}

/// What a handler can return: `Result<R, E>` with `R: Serialize` and `E: Into<Error>`.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "returns `{Self}`",
    note = "a handler returns `surehand::Result<R>`, where `R` is `()` or the reply of a direct invocation"
)]
pub trait IntoReply {
    /// Returns the reply, if one is `wanted`.
    ///
    /// # Errors
    /// The handler's own error, or an error if the reply does not serialize.
    fn into_reply(self, wanted: bool) -> Result<Reply>;
}

impl<R: Serialize, E: Into<Error>> IntoReply for Result<R, E> {
    fn into_reply(self, wanted: bool) -> Result<Reply> {
        let value = self.map_err(Into::into)?;
        if wanted {
            Reply::json(&value)
        } else {
            Ok(Reply::none())
        }
    }
}

/// Arguments whose first is an [`Envelope`], from which a router reads the handler's event.
#[diagnostic::on_unimplemented(
    message = "a handler in a router must take `Envelope<T>` first",
    note = "the router reads from it which events the handler is for",
    note = "a handler for all other records goes to `.otherwise(…)`"
)]
pub trait Consumes {
    /// The event.
    type Event: Event;
}

/// The first argument of a handler in a router: an [`Envelope`].
#[diagnostic::on_unimplemented(
    message = "a handler in a router must take `Envelope<T>` first, not `{Self}`",
    label = "takes `{Self}` first",
    note = "the router reads from it which events the handler is for",
    note = "a handler for all other records goes to `.otherwise(…)`"
)]
pub trait Enveloped {
    /// The event.
    type Event: Event;
}

impl<T: Event> Enveloped for Envelope<T> {
    type Event = T;
}

/// The event of a handler's arguments.
///
/// # Panics
/// If there are two: no record could be handled.
fn only_event(handler: &str, consumes: &[Option<EventName>]) -> Option<EventName> {
    let mut all = consumes.iter().flatten();
    let first = all.next()?;
    if let Some(other) =
        all.find(|other| (other.source, other.detail_type) != (first.source, first.detail_type))
    {
        let [first, other] = [first, other].map(|name| EventType::from(*name).detail_type);
        panic!(
            "the handler {handler} takes an `Envelope` of {first} and one of {other}, and no record has both: make a handler for each, and a `Router` of them"
        );
    }
    Some(*first)
}

macro_rules! handlers {
    ($( ($($arg:ident),*) )*) => { $(
        #[diagnostic::do_not_recommend]
        impl<F, Fut, $($arg,)*> Signature<($($arg,)*)> for F
        where
            F: FnOnce($($arg,)*) -> Fut,
            Fut: Future,
        {
        }

        #[allow(non_snake_case, unused_variables)]
        impl<F, Fut, S, $($arg,)*> Handler<($($arg,)*), S> for F
        where
            F: FnOnce($($arg,)*) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future<Output: IntoReply> + Send,
            S: Send + Sync + 'static,
            $($arg: FromRecord<S> + Send,)*
        {
            fn traits(&self, _record: &Record) -> HandlerTraits {
                HandlerTraits::of::<F>(false $(|| $arg::COMMITS)*)
            }

            fn describe(&self) -> Vec<HandlerDescription> {
                let traits = HandlerTraits::of::<F>(false $(|| $arg::COMMITS)*);
                let consumes: [Option<EventName>; _] = [$($arg::CONSUMES,)*];
                vec![traits.describe(only_event(traits.name, &consumes))]
            }

            async fn call(self, record: Record, state: S) -> Result<Reply> {
                $(let $arg = $arg::from_record(&record, &state)?;)*
                self($($arg,)*).await.into_reply(record.wants_reply())
            }
        }
    )* };
}

macro_rules! consumers {
    ($( ($first:ident $(, $arg:ident)*) )*) => { $(
        impl<$first: Enveloped, $($arg,)*> Consumes for ($first, $($arg,)*) {
            type Event = $first::Event;
        }
    )* };
}

handlers! {
    ()
    (A)
    (A, B)
    (A, B, C)
    (A, B, C, D)
    (A, B, C, D, G)
    (A, B, C, D, G, H)
    (A, B, C, D, G, H, I)
    (A, B, C, D, G, H, I, J)
}

consumers! {
    (A)
    (A, B)
    (A, B, C)
    (A, B, C, D)
    (A, B, C, D, G)
    (A, B, C, D, G, H)
    (A, B, C, D, G, H, I)
    (A, B, C, D, G, H, I, J)
}

/// A handler with its state, as a tower service.
pub struct HandlerService<H, Args, S> {
    handler: H,
    state: S,
    _args: PhantomData<fn() -> Args>,
}

impl<H, Args, S> HandlerService<H, Args, S> {
    /// Makes the service that calls `handler` with `state`.
    pub fn new(handler: H, state: S) -> Self
    where
        H: Signature<Args> + Handler<Args, S>,
    {
        Self {
            handler,
            state,
            _args: PhantomData,
        }
    }
}

impl<H: Clone, Args, S: Clone> Clone for HandlerService<H, Args, S> {
    fn clone(&self) -> Self {
        Self {
            handler: self.handler.clone(),
            state: self.state.clone(),
            _args: PhantomData,
        }
    }
}

impl<H, Args, S> fmt::Debug for HandlerService<H, Args, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HandlerService({})", std::any::type_name::<H>())
    }
}

impl<H, Args, S> Service<Record> for HandlerService<H, Args, S>
where
    H: Handler<Args, S>,
    Args: 'static,
    S: Clone + Send + Sync + 'static,
{
    type Response = Reply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Reply>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, record: Record) -> Self::Future {
        if let Err(error) = record.check() {
            return Box::pin(async { Err(error) });
        }
        Box::pin(self.handler.clone().call(record, self.state.clone()))
    }
}
