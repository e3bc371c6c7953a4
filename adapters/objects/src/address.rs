//! Where the objects are: `s3://BUCKET/PREFIX`, `file:///DIRECTORY`, or the path of a directory.

use std::fs;
use std::path::Path as Directory;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};
use reprise_fleet::objects::ObjectsError;

/// How long one request may take, a whole receipt included.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How long a request that fails is repeated before it is reported.
const RETRY_WITHIN: Duration = Duration::from_secs(8);

/// A place for objects.
pub(crate) struct Place {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) prefix: Path,
    pub(crate) shown: String,
    /// Whether it lists in the order of names. S3 does, a directory does not.
    pub(crate) is_ordered: bool,
}

/// Opens a place. What S3 needs beside the address (region, endpoint, credentials) is in the variables `AWS_…`.
pub(crate) fn open(
    url: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Place, ObjectsError> {
    let wrong = |reason: String| ObjectsError::Address { at: url.into(), reason };
    if let Some(rest) = url.strip_prefix("s3://") {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() || rest.contains('@') || rest.contains('?') {
            return Err(wrong(
                "say s3://BUCKET/PREFIX; region, endpoint and credentials are variables AWS_…".into(),
            ));
        }
        let prefix = Path::parse(prefix.trim_matches('/')).map_err(|error| wrong(error.to_string()))?;
        // Two providers may be linked, and then none is the default by itself. Whoever was first is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let retry =
            RetryConfig { backoff: BackoffConfig::default(), max_retries: 3, retry_timeout: RETRY_WITHIN };
        let seconds = |time: Duration| format!("{} seconds", time.as_secs());
        let mut builder = AmazonS3Builder::new();
        for (name, value) in variables {
            let name = name.to_ascii_lowercase();
            if let Some(key) = name.starts_with("aws_").then(|| name.parse().ok()).flatten() {
                builder = builder.with_config(key, value);
            }
        }
        let store = builder
            .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), seconds(ANSWER_WITHIN))
            .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::ConnectTimeout), seconds(CONNECT_WITHIN))
            .with_retry(retry)
            // One object is deleted at a time: so the right to delete it is enough, and servers that know no more are.
            .with_disable_bulk_delete(true)
            .with_bucket_name(bucket);
        let store = store.build().map_err(|error| wrong(error.to_string()))?;
        return Ok(Place { store: Arc::new(store), prefix, shown: url.into(), is_ordered: true });
    }
    if let Some((scheme, _)) = url.split_once("://")
        && scheme != "file"
    {
        return Err(wrong(format!("`{scheme}` is none of s3 and file")));
    }
    let path = url.strip_prefix("file://").unwrap_or(url);
    if path.is_empty() {
        return Err(wrong("say s3://BUCKET/PREFIX or a directory".into()));
    }
    let made = fs::create_dir_all(path).map_err(|error| error.to_string());
    let store =
        made.and_then(|()| LocalFileSystem::new_with_prefix(Directory::new(path)).map_err(|e| e.to_string()));
    let store = store.map_err(wrong)?;
    Ok(Place { store: Arc::new(store), prefix: Path::default(), shown: path.into(), is_ordered: false })
}
