//! A keeper's signs of life: a request that lasts as long as the keeper does.

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use futures_util::StreamExt;

use super::Shared;

/// `POST /v1/alive`. What comes was heard where all bytes are ([`super::voice`]); here it is only
/// taken, so that more can come.
pub(super) async fn alive(State(hive): Shared, body: Body) -> StatusCode {
    let mut closing = hive.handle.closing();
    let mut signs = body.into_data_stream();
    let until_it_ends = async { while matches!(signs.next().await, Some(Ok(_))) {} };
    tokio::select! {
        () = until_it_ends => {}
        _closing = closing.wait_for(|closing| *closing) => {}
    }
    StatusCode::NO_CONTENT
}
