//! What a guard asks the app: whose token is this, or is its user still active? The answer takes time.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Response, request::Parts};

use super::bearer::{Guard, Refusal, guarded};
use crate::error::{BoxError, BoxFuture, answer_within};
use crate::secret::{Secret, debug_only};
use crate::sync::unwind_guarded_future;
use crate::token::{AccessToken, InvalidToken};

/// How long the app may take.
const LONGEST_ANSWER: Duration = Duration::from_secs(5);

type Answer<T> = BoxFuture<'static, Result<T, BoxError>>;

/// One question.
pub(crate) enum Ask {
    /// Instead of the validator.
    Token(Box<dyn Fn(Secret) -> Answer<Option<AccessToken>> + Send + Sync>),
    /// After it.
    User(Box<dyn Fn(AccessToken) -> Answer<bool> + Send + Sync>),
}

debug_only!(Ask {});

impl Guard {
    /// Like [`check`](Self::check), with a question.
    pub(crate) async fn check_and_ask(
        &self,
        ask: &Ask,
        parts: &Parts,
    ) -> Result<Option<AccessToken>, Box<Response<Bytes>>> {
        let token = self.token_and_answer(ask, parts).await;
        token.map_err(|refusal| self.refuse(&parts.method, &parts.headers, &refusal))
    }

    async fn token_and_answer(&self, ask: &Ask, parts: &Parts) -> Result<Option<AccessToken>, Refusal> {
        let refused = Refusal::InvalidToken(InvalidToken::Refused);
        match ask {
            Ask::Token(find) => {
                let Some(text) = guarded(|| self.text(&parts.method, &parts.headers))? else { return Ok(None) };
                let token = answer(async { find(text.into()).await }).await?.ok_or(refused)?;
                if token.expires_at().is_some_and(|end| end <= SystemTime::now()) {
                    return Err(Refusal::InvalidToken(InvalidToken::Expired));
                }
                guarded(|| self.accept(token, &parts.method)).map(Some)
            }
            Ask::User(is_active) => {
                let Some(token) = self.token(&parts.method, &parts.headers)? else { return Ok(None) };
                let active = answer(async { is_active(token.clone()).await }).await?;
                if active { Ok(Some(token)) } else { Err(refused) }
            }
        }
    }
}

async fn answer<T>(answer: impl Future<Output = Result<T, BoxError>>) -> Result<T, Refusal> {
    let answer = async { unwind_guarded_future(answer).await.unwrap_or_else(|| Err("it panicked".into())) };
    answer_within(LONGEST_ANSWER, "a guard's question failed", answer).await.map_err(Refusal::Other)
}
