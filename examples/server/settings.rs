//! What the environment says.

use std::{env, net::SocketAddr, time::Duration};

use tower_oauth2_password::{BoxError, Secret};

pub(crate) struct Settings {
    pub(crate) addr: SocketAddr,
    pub(crate) jwt_secret: Vec<u8>,
    pub(crate) access_token_ttl: Duration,
    pub(crate) refresh_token_ttl: Duration,
    pub(crate) redis_url: Option<Secret>,
}

impl Settings {
    pub(crate) fn from_env() -> Result<Self, BoxError> {
        Ok(Self {
            addr: variable("ADDR")?
                .map_or(Ok(SocketAddr::from(([127, 0, 0, 1], 8000))), |text| text.parse())
                .map_err(|_| "ADDR is no socket address such as 127.0.0.1:8000")?,
            jwt_secret: match variable("JWT_SECRET")? {
                Some(secret) if secret.len() < 32 => {
                    return Err(format!("JWT_SECRET has {} bytes, it needs 32 or more", secret.len()).into());
                }
                Some(secret) => secret.into_bytes(),
                None => random_secret()?,
            },
            access_token_ttl: seconds("ACCESS_TOKEN_TTL", 900)?,
            refresh_token_ttl: seconds("REFRESH_TOKEN_TTL", 86_400)?,
            redis_url: variable("REDIS_URL")?.map(Secret::new),
        })
    }
}

fn variable(name: &str) -> Result<Option<String>, BoxError> {
    match env::var(name) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(format!("{name} is not UTF-8").into()),
    }
}

fn seconds(name: &str, default: u64) -> Result<Duration, BoxError> {
    let seconds = match variable(name)? {
        Some(text) => text.parse().ok().filter(|seconds| *seconds > 0),
        None => Some(default),
    };
    seconds.map(Duration::from_secs).ok_or_else(|| format!("{name} is no number of seconds, 1 or more").into())
}

fn random_secret() -> Result<Vec<u8>, BoxError> {
    let mut secret = vec![0; 32];
    getrandom::fill(&mut secret)?;
    Ok(secret)
}
