//! Signs of life to an agent: one request without an end, and a byte in it every second.
//!
//! They wait for nothing that the agent says. What is asked for by HTTP/2's pings waits behind
//! tokens on a slow line, and then the agent would take its keeper for gone.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Request;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame};
use hyper::client::conn::http2::SendRequest;
use tokio::time::{Interval, MissedTickBehavior};

/// What is sent to an agent: whole bodies, and signs of life.
pub type Sent = Either<Full<Bytes>, Signs>;

/// A byte is a sign; which one does not matter.
const SIGN: &[u8] = b".";

/// The body of the request.
pub struct Signs {
    pauses: Interval,
    unneeded: BoxFuture<'static, ()>,
}

/// Gives a sign of life each `pause` until the connection is `unneeded`. The first one is the
/// request's head, after a pause: a connection that lives shorter needs none.
pub async fn give(
    mut sender: SendRequest<Sent>,
    request: http::request::Builder,
    pause: Duration,
    mut unneeded: BoxFuture<'static, ()>,
) {
    tokio::select! {
        () = tokio::time::sleep(pause) => {}
        () = &mut unneeded => return,
    }
    let mut pauses = tokio::time::interval_at(tokio::time::Instant::now() + pause, pause);
    pauses.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let signs = Either::Right(Signs { pauses, unneeded });
    let sent = request.body(signs).map(|request: Request<Sent>| sender.send_request(request));
    // A sender that is kept would keep the connection.
    drop(sender);
    if let Ok(answer) = sent {
        // An agent of a build that knows no such request refuses it, and asks by pings.
        let ended = answer.await.map(|answer| answer.status());
        tracing::debug!(?ended, "no more signs of life are given");
    }
}

impl Body for Signs {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.unneeded.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        ready!(self.pauses.poll_tick(cx));
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(SIGN)))))
    }
}
