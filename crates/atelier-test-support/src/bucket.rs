//! A bucket of an S3 server on a free port, which checks signatures.

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const NAME: &str = "files";

/// A bucket that is there for as long as this value is.
pub struct Bucket {
    port: u16,
    folder: TempDir,
    server: JoinHandle<()>,
}

impl Bucket {
    pub const ACCESS_KEY: &str = "atelier-test";
    pub const SECRET_KEY: &str = "a secret for tests";

    /// # Panics
    /// When no port or folder can be had.
    pub async fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("atelier-bucket-").tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join(NAME)).expect("the folder is empty");
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).expect("the folder is there"));
        service.set_auth(SimpleAuth::from_single(Self::ACCESS_KEY, Self::SECRET_KEY));
        let service = service.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it listens").port();
        let server = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                connections.spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new());
                    // a client that goes away is no failure of a test
                    let _ = server.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { port, folder, server }
    }

    #[must_use]
    pub const fn name(&self) -> &'static str {
        NAME
    }

    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What the environment of a client of this bucket holds.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 3] {
        [
            ("AWS_ACCESS_KEY_ID", Self::ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", Self::SECRET_KEY.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }

    /// Keys of all objects, in order.
    ///
    /// # Panics
    /// When the folder of the server cannot be read.
    #[must_use]
    pub fn objects(&self) -> Vec<String> {
        let root = self.folder.path().join(NAME);
        let files = crate::files_below(&root);
        files.iter().map(|path| path.strip_prefix(&root).expect("it lies below").display().to_string()).collect()
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.server.abort();
    }
}
