use std::fmt;
use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// The parameters that sqlx understands, and `options[…]`.
const PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];
/// The parameters that name the certificates by which the server is verified.
const ROOT_CERTIFICATES: [&str; 3] = ["sslrootcert", "ssl-root-cert", "ssl-ca"];

/// May hold a password, and so is never printed.
#[derive(Clone)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// # Errors
    /// When it is no Postgres URL, or has parameters without an effect.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err("must be a postgres:// URL");
        }
        // Before sqlx parses it: sqlx logs an unknown parameter with its value, and goes on.
        let query = text.split_once('?').map_or("", |(_, query)| query);
        let mut names = query.split('&').filter_map(|pair| pair.split('=').next());
        let is_known = |name: &str| PARAMETERS.contains(&name) || name.starts_with("options[");
        if !names.clone().all(|name| name.is_empty() || is_known(name)) {
            return Err("has a parameter that is unknown here");
        }
        let options = PgConnectOptions::from_str(text).map_err(|_| "must be a postgres:// URL")?;
        let verifies =
            matches!(options.get_ssl_mode(), PgSslMode::VerifyCa | PgSslMode::VerifyFull);
        if names.any(|name| ROOT_CERTIFICATES.contains(&name)) && !verifies {
            return Err("has an sslrootcert, which has no effect without sslmode=verify-full");
        }
        Ok(Self(text.to_owned()))
    }

    /// `host:port/database`, without user and password.
    #[must_use]
    pub fn display_address(&self) -> String {
        let Ok(options) = PgConnectOptions::from_str(&self.0) else {
            return String::new();
        };
        let socket = options.get_socket().map(|path| path.display().to_string());
        let host = socket.unwrap_or_else(|| options.get_host().to_owned());
        let database = options.get_database().unwrap_or(options.get_username());
        format!("{host}:{}/{database}", options.get_port())
    }

    /// The text with its password, to connect with.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displayed_address_has_no_user_and_no_password() {
        let address = |url: &str| DatabaseUrl::parse(url).unwrap().display_address();
        assert_eq!(address("postgres://shop:s3cret@db.example:5433/pay"), "db.example:5433/pay");
        assert_eq!(address("postgres://shop@%2Frun%2Fpg/pay"), "/run/pg:5432/pay");
    }
}
