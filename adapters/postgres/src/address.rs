//! Where the database is, and whether the way there is encrypted.

use std::sync::Arc;
use std::time::Duration;

use reprise_jobs::JobsError;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// The variable that holds the password, where the address has none.
const PASSWORD: &str = "PGPASSWORD";

/// The parameter of an address that says whether to listen for notifications.
const LISTEN: &str = "listen=";

/// A database, as an address names it.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) config: Config,
    pub(crate) tls: MakeRustlsConnect,
    /// Whether notifications are listened for: behind a pooler in transaction mode they do not come.
    pub(crate) listens: bool,
    /// Host, port and database, without who asks and with what password.
    pub(crate) shown: String,
}

impl Address {
    /// Reads `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=require&listen=off`.
    pub(crate) fn read(url: &str) -> Result<Self, JobsError> {
        let (url, listens) = without_listen(url);
        let wrong = |reason: String| JobsError::Address { at: before_parameters(&url).into(), reason };
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            wrong(format!("say postgres://USER@HOST:PORT/DATABASE ({error})"))
        })?;
        if let (None, Ok(password)) = (config.get_password(), std::env::var(PASSWORD)) {
            config.password(password);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_WITHIN);
        }
        if config.get_application_name().is_none() {
            config.application_name("reprise");
        }
        let hosts: Vec<String> = config.get_hosts().iter().map(host).collect();
        let ports: Vec<String> = config.get_ports().iter().map(u16::to_string).collect();
        let database = config.get_dbname().unwrap_or("?");
        let shown = format!("postgres://{}:{}/{database}", hosts.join(","), ports.join(","));
        let tls = connector(config.get_ssl_mode() != SslMode::Disable).map_err(wrong)?;
        Ok(Self { config, tls, listens, shown })
    }
}

/// What comes before an address's parameters, without who asks.
fn before_parameters(url: &str) -> &str {
    let url = url.split('?').next().unwrap_or_default();
    url.rsplit('@').next().unwrap_or_default()
}

fn host(host: &Host) -> String {
    match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    }
}

/// The address without our own parameter, and what that says.
fn without_listen(url: &str) -> (String, bool) {
    let Some((base, parameters)) = url.split_once('?') else { return (url.into(), true) };
    let (ours, theirs): (Vec<&str>, Vec<&str>) =
        parameters.split('&').partition(|parameter| parameter.starts_with(LISTEN));
    let listens = !ours.iter().any(|parameter| parameter.ends_with("=off"));
    let rest = theirs.join("&");
    (if rest.is_empty() { base.into() } else { format!("{base}?{rest}") }, listens)
}

/// Believes the certificates that the system does; `SSL_CERT_FILE` names others.
fn connector(encrypts: bool) -> Result<MakeRustlsConnect, String> {
    let mut roots = RootCertStore::empty();
    if encrypts {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| format!("no TLS: {error}"))?;
    Ok(MakeRustlsConnect::new(config.with_root_certificates(roots).with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_user_and_password() {
        let address = Address::read("postgres://me:secret@db.example:5433/jobs?sslmode=disable").unwrap();
        assert_eq!(address.shown, "postgres://db.example:5433/jobs");
        assert!(address.listens);
        let wrong = Address::read("postgres://me:secret@db.example:none/jobs?sslmode=odd").err().unwrap();
        assert!(!wrong.to_string().contains("secret"), "{wrong}");
    }

    #[test]
    fn an_address_says_that_notifications_do_not_come() {
        let address = Address::read("postgres://h/d?listen=off&sslmode=disable").unwrap();
        assert!(!address.listens);
        assert!(!Address::read("postgres://h/d?listen=off").unwrap().listens);
    }
}
