//! The contract of [`DenyList`].

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::support::{Contract, HOUR, LATE, Race, SHORT, Span, comes, lasts, name, over, soon};
use futures_util::future::BoxFuture;
use tower_oauth2_password::{
    BoxError,
    store::{Denial, Denied, DenyList, TokenRef},
};

const CONTRACT: Contract = Contract("DenyList");

pub(crate) async fn check<D: DenyList>(list: &Arc<D>) {
    unknown_tokens_are_not_denied(&**list).await;
    a_denied_token_is_denied_at_once(list).await;
    a_token_is_remembered_for_its_time(&**list).await;
    a_shorter_time_forgets_nothing(&**list).await;
    a_late_call_does_nothing(&**list).await;
    a_denied_session_is_denied_alone(&**list).await;
    a_denied_subject_is_denied_up_to_a_moment(&**list).await;
    no_subject_has_more_than_its_share(&**list).await;
}

pub(crate) async fn check_shared(one: &impl DenyList, other: &impl DenyList) {
    let clause = "a denied token is denied within a second in every process that shares the store";
    let second = Duration::from_secs(1);
    for ttl in [HOUR, SHORT * 5] {
        let token = name("jti");
        CONTRACT.require(
            !one.is_denied(token_ref(&token)) && !other.is_denied(token_ref(&token)),
            clause,
            "an unknown token is denied",
        );
        let (begun, ()) = Span::of(deny(one, &token, ttl)).await;
        comes(CONTRACT, clause, second, async || other.is_denied(token_ref(&token))).await;
        if ttl < HOUR {
            lasts(CONTRACT, "every process forgets a token after its time", begun, ttl, async || {
                other.is_denied(token_ref(&token))
            })
            .await;
        }
    }
}

async fn deny(list: &impl DenyList, token: &str, ttl: Duration) {
    let kept = CONTRACT.answer("deny", list.deny(denial(token, ttl), soon()).await);
    CONTRACT.require(kept, "the first hundred entries of a subject are kept", "`deny` returns false");
}

/// Each token has a subject of its own, so none uses up the share of another.
fn denial(token: &str, ttl: Duration) -> Denial<'_> {
    Denial::new(Denied::Token(token), None, token, ttl)
}

fn token_ref(token: &str) -> TokenRef<'_> {
    let mut reference = TokenRef::new(token);
    reference.id = Some(token);
    reference
}

async fn unknown_tokens_are_not_denied(list: &impl DenyList) {
    let clause = "a token that nobody denied is not denied";
    let token = name("jti");
    CONTRACT.require(!list.is_denied(token_ref(&token)), clause, "an empty list denies it");
    deny(list, &token, HOUR).await;
    let longer = format!("{token} ");
    for other in [token.to_uppercase(), longer, token.chars().skip(1).collect(), name("jti")] {
        CONTRACT.require(
            !list.is_denied(token_ref(&other)),
            clause,
            format_args!("{other:?} is, after {token:?} was denied"),
        );
    }
}

async fn a_denied_token_is_denied_at_once<D: DenyList>(list: &Arc<D>) {
    let clause = "a denied token is denied at once";
    for end in ["", " ", "東京", "a:b|c\t%*?", &"x".repeat(2_000)] {
        let token = format!("{}{end}", name("jti"));
        deny(&**list, &token, HOUR).await;
        CONTRACT.require(list.is_denied(token_ref(&token)), clause, format_args!("{token:?} is not"));
    }
    let tokens: Vec<_> = (0..50).map(|_| name("jti")).collect();
    let call = |token: &String| -> BoxFuture<'static, Result<bool, BoxError>> {
        let (list, token) = (Arc::clone(list), token.clone());
        Box::pin(async move {
            list.deny(denial(&token, HOUR), soon()).await?;
            Ok(list.is_denied(token_ref(&token)))
        })
    };
    for denied in Race::OneTask.run(tokens.iter().map(call).collect()).await {
        CONTRACT.require(CONTRACT.answer("deny", denied), clause, "one of many at once is not");
    }
    CONTRACT.require(tokens.iter().all(|token| list.is_denied(token_ref(token))), clause, "one of many was forgotten");
}

async fn a_token_is_remembered_for_its_time(list: &impl DenyList) {
    let clause = "a token is remembered for its time and no longer";
    let token = name("jti");
    let (begun, ()) = Span::of(deny(list, &token, SHORT)).await;
    lasts(CONTRACT, clause, begun, SHORT, async || list.is_denied(token_ref(&token))).await;
    deny(list, &token, HOUR).await;
    CONTRACT.require(list.is_denied(token_ref(&token)), clause, "a token that was forgotten cannot be denied again");
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
        lasts(CONTRACT, clause, begun, long, async || list.is_denied(token_ref(&token))).await;
    }
}

async fn a_late_call_does_nothing(list: &impl DenyList) {
    let token = name("jti");
    CONTRACT.require_late("deny", &list.deny(denial(&token, HOUR), over()).await);
    CONTRACT.require(!list.is_denied(token_ref(&token)), LATE, "the token is denied");
}

async fn a_denied_session_is_denied_alone(list: &impl DenyList) {
    let clause = "all tokens of a denied session are denied, and no others";
    let (session, subject) = (name("sid"), name("subject"));
    let denial = Denial::new(Denied::Session(&session), None, &subject, HOUR);
    CONTRACT.answer("deny", list.deny(denial, soon()).await);
    let of = |session| {
        let mut token = TokenRef::new(&subject);
        token.session_id = session;
        list.is_denied(token)
    };
    CONTRACT.require(of(Some(&session)), clause, "one is not");
    CONTRACT.require(!of(Some("another")) && !of(None), clause, "a token of another session is");
    let mut token = TokenRef::new(&subject);
    token.id = Some(&session);
    CONTRACT.require(!list.is_denied(token), clause, "a token whose id is that of the session is");
}

async fn a_denied_subject_is_denied_up_to_a_moment(list: &impl DenyList) {
    let clause = "tokens of a denied subject that are from before the moment are denied, and no others";
    let (subject, issuer, second) = (name("subject"), name("issuer"), Duration::from_secs(1));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let end = UNIX_EPOCH + Duration::from_secs(now.as_secs()) + second / 2;
    // The later moment counts, whichever comes first.
    for denied in [end, end - HOUR] {
        let denial = Denial::new(Denied::SubjectBefore(denied), Some(&issuer), &subject, HOUR);
        let kept = CONTRACT.answer("deny", list.deny(denial, soon()).await);
        CONTRACT.require(kept, "a subject can always be denied", "`deny` returns false");
    }
    let (began_before, began_after) = (end - second / 4, end + second / 4);
    for (issued_at, began, expected) in [
        (end - second, None, true),
        (end - second / 2, None, true),
        (end - second / 2, Some(began_before), true),
        (end - second / 2, Some(began_after), false),
        (end + second / 2, Some(began_before), false),
        (end + second / 2, None, false),
    ] {
        let mut token = TokenRef::new(&subject);
        (token.issuer, token.issued_at, token.session_began) = (Some(issuer.as_str()), Some(issued_at), began);
        let seen = format_args!("{token:?} for {end:?}");
        CONTRACT.require(list.is_denied(token) == expected, clause, seen);
        token.issuer = None;
        CONTRACT.require(!list.is_denied(token), clause, "the same subject of another issuer is denied");
    }
}

async fn no_subject_has_more_than_its_share(list: &impl DenyList) {
    let clause = "a hundred entries of one subject are kept, and for more `deny` returns false";
    let subject = name("subject");
    let ids: Vec<_> = (0..105).map(|_| name("jti")).collect();
    let mut kept = 0;
    for id in &ids {
        let denial = Denial::new(Denied::Token(id), None, &subject, HOUR);
        kept += usize::from(CONTRACT.answer("deny", list.deny(denial, soon()).await));
    }
    CONTRACT.require(kept == 100, clause, format_args!("{kept} are"));
    let denied = ids.iter().filter(|id| list.is_denied(token_ref(id))).count();
    CONTRACT.require(denied == kept, clause, format_args!("{denied} are denied"));
    deny(list, &name("jti"), HOUR).await;
    let whole = Denial::new(Denied::SubjectBefore(SystemTime::now()), None, &subject, HOUR);
    CONTRACT.require(CONTRACT.answer("deny", list.deny(whole, soon()).await), clause, "the subject cannot be denied");
}
