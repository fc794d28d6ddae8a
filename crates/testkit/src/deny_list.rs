//! The contract of [`DenyList`].

use std::{sync::Arc, time::Duration};

use crate::support::{Contract, HOUR, LATE, Race, SHORT, Span, comes, lasts, name, over, soon};
use futures_util::future::BoxFuture;
use tower_oauth2_password::{BoxError, store::DenyList};

const CONTRACT: Contract = Contract("DenyList");

pub(crate) async fn check<D: DenyList>(list: &Arc<D>) {
    unknown_tokens_are_not_denied(&**list).await;
    a_denied_token_is_denied_at_once(list).await;
    a_token_is_remembered_for_its_time(&**list).await;
    a_shorter_time_forgets_nothing(&**list).await;
    a_late_call_does_nothing(&**list).await;
}

pub(crate) async fn check_shared(one: &impl DenyList, other: &impl DenyList) {
    let clause = "a denied token is denied within a second in every process that shares the store";
    let second = Duration::from_secs(1);
    for ttl in [HOUR, SHORT * 5] {
        let token = name("jti");
        CONTRACT.require(!one.is_denied(&token) && !other.is_denied(&token), clause, "an unknown token is denied");
        let (begun, ()) = Span::of(deny(one, &token, ttl)).await;
        comes(CONTRACT, clause, second, async || other.is_denied(&token)).await;
        if ttl < HOUR {
            lasts(CONTRACT, "every process forgets a token after its time", begun, ttl, async || {
                other.is_denied(&token)
            })
            .await;
        }
    }
}

async fn deny(list: &impl DenyList, token: &str, ttl: Duration) {
    CONTRACT.answer("deny", list.deny(token, ttl, soon()).await);
}

async fn unknown_tokens_are_not_denied(list: &impl DenyList) {
    let clause = "a token that nobody denied is not denied";
    let token = name("jti");
    CONTRACT.require(!list.is_denied(&token), clause, "an empty list denies it");
    deny(list, &token, HOUR).await;
    let longer = format!("{token} ");
    for other in [token.to_uppercase(), longer, token.chars().skip(1).collect(), name("jti")] {
        CONTRACT.require(!list.is_denied(&other), clause, format_args!("{other:?} is, after {token:?} was denied"));
    }
}

async fn a_denied_token_is_denied_at_once<D: DenyList>(list: &Arc<D>) {
    let clause = "a denied token is denied at once";
    for end in ["", " ", "東京", "a:b|c\t%*?", &"x".repeat(2_000)] {
        let token = format!("{}{end}", name("jti"));
        deny(&**list, &token, HOUR).await;
        CONTRACT.require(list.is_denied(&token), clause, format_args!("{token:?} is not"));
    }
    let tokens: Vec<_> = (0..50).map(|_| name("jti")).collect();
    let call = |token: &String| -> BoxFuture<'static, Result<bool, BoxError>> {
        let (list, token) = (Arc::clone(list), token.clone());
        Box::pin(async move {
            list.deny(&token, HOUR, soon()).await?;
            Ok(list.is_denied(&token))
        })
    };
    for denied in Race::OneTask.run(tokens.iter().map(call).collect()).await {
        CONTRACT.require(CONTRACT.answer("deny", denied), clause, "one of many at once is not");
    }
    CONTRACT.require(tokens.iter().all(|token| list.is_denied(token)), clause, "one of many was forgotten");
}

async fn a_token_is_remembered_for_its_time(list: &impl DenyList) {
    let clause = "a token is remembered for its time and no longer";
    let token = name("jti");
    let (begun, ()) = Span::of(deny(list, &token, SHORT)).await;
    lasts(CONTRACT, clause, begun, SHORT, async || list.is_denied(&token)).await;
    deny(list, &token, HOUR).await;
    CONTRACT.require(list.is_denied(&token), clause, "a token that was forgotten cannot be denied again");
}

async fn a_shorter_time_forgets_nothing(list: &impl DenyList) {
    let clause = "a token that is denied twice is remembered for the longer time";
    for longer_first in [true, false] {
        let token = name("jti");
        let (long, short) = (SHORT * 2, SHORT / 8);
        if !longer_first {
            deny(list, &token, short).await;
        }
        let (begun, ()) = Span::of(deny(list, &token, long)).await;
        if longer_first {
            deny(list, &token, short).await;
        }
        lasts(CONTRACT, clause, begun, long, async || list.is_denied(&token)).await;
    }
}

async fn a_late_call_does_nothing(list: &impl DenyList) {
    let token = name("jti");
    CONTRACT.require_late("deny", &list.deny(&token, HOUR, over()).await);
    CONTRACT.require(!list.is_denied(&token), LATE, "the token is denied");
}
