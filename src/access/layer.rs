//! The one layer that checks the credential, before a body is read, for gRPC and REST alike.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::AUTHORIZATION;

use super::Access;
use crate::error::{Error, Result};

/// Answers with an error, as its protocol does.
pub type Refuse = fn(Error) -> Response;

/// Leaves the [`super::Caller`] in the request's extensions, or answers with what `refuse` makes of
/// the error.
pub async fn authenticate(
    State((access, refuse)): State<(Arc<Access>, Refuse)>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = match authorization(&request) {
        Ok(authorization) => {
            let caller = access.caller(authorization).await;
            caller.and_then(|caller| access.ask(&caller).map(|()| caller))
        }
        Err(error) => Err(error),
    };
    match caller {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => refuse(error),
    }
}

fn authorization(request: &Request) -> Result<Option<&str>> {
    let mut values = request.headers().get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Error::InvalidApiKey("Invalid API key")),
        (Some(_), Some(_)) => Err(Error::InvalidApiKey("Send one Authorization header")),
    }
}
