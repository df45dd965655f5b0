//! Buckets in memory that lose answers or write over, and a service that gives one answer to all.

use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use async_trait::async_trait;
use object_store::client::{HttpError, HttpErrorKind};
use object_store::memory::InMemory;
use object_store::multipart::PartId;
use object_store::{CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload};
use object_store::{PutMultipartOptions, PutOptions, PutResult};

use super::upload::PART_BYTES;
use super::*;
use crate::store::{RepositoryUrl, StoreOptions, open_store};

/// What is wrong with a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// It repeats what it has done.
    Repeats,
    /// The answer to what it has done is lost, the first time.
    LosesAnswer,
    /// It does not look whether something is there.
    WritesOver,
}

#[derive(Clone, Debug)]
struct Memory {
    objects: Arc<InMemory>,
    fault: Fault,
    answers_lost: Arc<OnceLock<()>>,
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory")
    }
}

fn lost() -> Error {
    let error = HttpError::new(HttpErrorKind::Interrupted, io::Error::from(ErrorKind::ConnectionReset));
    Error::Generic { store: "memory", source: Box::new(error) }
}

#[async_trait]
impl ObjectStore for Memory {
    async fn put_opts(&self, path: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        if self.fault == Fault::WritesOver {
            options.mode = PutMode::Overwrite;
        }
        let put = self.objects.put_opts(path, payload.clone(), options.clone()).await;
        match self.fault {
            Fault::Repeats if put.is_ok() => self.objects.put_opts(path, payload, options).await,
            Fault::LosesAnswer if self.answers_lost.set(()).is_ok() => Err(lost()),
            _ => put,
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.objects.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.objects.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

#[async_trait]
impl MultipartStore for Memory {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.objects.create_multipart(path).await
    }

    async fn put_part(&self, path: &Path, id: &MultipartId, at: usize, part: PutPayload) -> Result<PartId> {
        self.objects.put_part(path, id, at, part).await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        self.objects.complete_multipart(path, id, parts).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        self.objects.abort_multipart(path, id).await
    }
}

fn memory(fault: Fault) -> Memory {
    Memory { objects: Arc::default(), fault, answers_lost: Arc::default() }
}

fn bucket(memory: &Memory, prefix: &str) -> Bucket {
    Bucket::new(Box::new(memory.clone()), prefix, memory.fault == Fault::WritesOver).unwrap()
}

fn put(store: &Bucket, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut upload = store.upload(name)?;
    upload.write_all(bytes)?;
    upload.finish()
}

fn content(store: &Bucket, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.read(name).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// All names in the memory, whatever they are for.
fn everything(memory: &Memory) -> Vec<String> {
    let all = bucket(memory, "");
    let found = all.inner.service.list(None).map_ok(|object| object.location.to_string());
    let mut names: Vec<String> = all.inner.wait(found.try_collect()).unwrap();
    names.sort();
    names
}

#[test]
fn a_prefix_sees_its_own_and_what_is_there_is_never_put_again() {
    let memory = memory(Fault::None);
    let (one, other) = (bucket(&memory, "backups/one"), bucket(&memory, ""));
    put(&one, "log/x", b"first").unwrap();
    put(&other, "log/x", b"other").unwrap();
    assert_eq!(put(&one, "log/x", b"second").unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!((one.list().unwrap(), content(&one, "log/x")), (vec!["log/x".to_owned()], b"first".to_vec()));
    assert_eq!(
        (other.list().unwrap(), content(&other, "log/x")),
        (vec!["log/x".to_owned()], b"other".to_vec())
    );
    assert!(one.age_s("log/x").unwrap() < 3600);
    one.remove("log/x").unwrap();
    assert_eq!(one.read("log/x").err().unwrap().kind(), ErrorKind::NotFound);
    assert_eq!(everything(&memory), ["log/x"]);
}

#[test]
fn what_is_larger_than_a_part_comes_back_whole() {
    let memory = memory(Fault::None);
    let store = bucket(&memory, "b");
    for (at, length) in [PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES, 2 * PART_BYTES + 3]
        .into_iter()
        .enumerate()
    {
        let bytes: Vec<u8> = (0..length).map(|at| (at / 251) as u8).collect();
        let name = format!("log/{at}");
        put(&store, &name, &bytes).unwrap();
        assert!(content(&store, &name) == bytes, "{length} bytes");
    }
    assert!(everything(&memory).iter().all(|name| !name.contains(TEMP)), "no mark stays");
}

#[test]
fn an_upload_that_is_given_up_leaves_nothing() {
    let memory = memory(Fault::None);
    let store = bucket(&memory, "b");
    let mut upload = store.upload("log/x").unwrap();
    upload.write_all(&vec![1; PART_BYTES + 1]).unwrap();
    assert_eq!(everything(&memory).len(), 1, "the mark");
    drop(upload);
    assert_eq!(everything(&memory), [""; 0]);
}

#[test]
fn an_upload_that_was_killed_is_swept_when_it_is_old() {
    let memory = memory(Fault::None);
    let store = bucket(&memory, "b");
    let mut upload = store.upload("log/x").unwrap();
    upload.write_all(&vec![1; PART_BYTES + 1]).unwrap();
    let [mark] = &everything(&memory)[..] else { panic!() };
    let told: Mark = serde_json::from_slice(&content(&bucket(&memory, ""), mark)).unwrap();
    std::mem::forget(upload);
    assert_eq!(store.sweep(3600).unwrap(), 0, "it may be somebody's who is still writing");
    assert_eq!(bucket(&memory, "c").sweep(0).unwrap(), 0, "that is another repository");
    assert_eq!(store.sweep(0).unwrap(), 1);
    assert_eq!(everything(&memory), [""; 0]);
    let path = Path::from("b/log/x");
    let part = memory.put_part(&path, &told.upload, 1, "more".into());
    assert!(store.inner.wait(part).is_err(), "the upload is over");
}

#[test]
fn a_put_that_finds_itself_is_done() {
    for fault in [Fault::Repeats, Fault::LosesAnswer] {
        let memory = memory(fault);
        let store = bucket(&memory, "");
        put(&store, "log/x", b"mine").unwrap();
        assert_eq!(content(&store, "log/x"), b"mine");
        let again = put(&store, "log/x", b"his!").unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists, "{fault:?}");
    }
}

#[test]
fn a_service_that_writes_over_gets_nothing() {
    let memory = memory(Fault::WritesOver);
    let refused = put(&bucket(&memory, ""), "log/x", b"mine").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
    assert_eq!(everything(&memory), [""; 0]);
}

/// A service that gives each request this answer. It ends with the test's process.
fn answering(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(&stream).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            (&stream).write_all((head + body).as_bytes()).unwrap_or_default();
        }
    });
    format!("http://{address}")
}

/// What is said when a bucket is opened at an endpoint.
fn said(url: &str, endpoint: &str, credentials: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("credentials");
    std::fs::write(&path, credentials).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let url: RepositoryUrl = url.parse().unwrap();
    let options =
        StoreOptions { endpoint: Some(endpoint.to_owned()), credentials: Some(path), create: false };
    open_store(&url, &options).err().unwrap().to_string()
}

const KEY: &str = "aws_access_key_id = A\naws_secret_access_key = s3cr3t\n";

#[test]
fn a_refusal_is_told_in_a_sentence() {
    let refusals = [
        ("404 Not Found", "<Error><Code>NoSuchBucket</Code></Error>", "there is no such bucket"),
        ("404 Not Found", "<html>nothing here</html>", "no address of an object store"),
        ("403 Forbidden", "<Error><Code>InvalidAccessKeyId</Code></Error>", "the credentials are wrong"),
        (
            "403 Forbidden",
            "<Error><Code>AccessDenied</Code><Message>No.</Message></Error>",
            "may not do that: status 403, AccessDenied, No.",
        ),
        (
            "400 Bad Request",
            "<Error><Code>AuthorizationHeaderMalformed</Code></Error>",
            "refuses it: status 400, Auth",
        ),
        ("301 Moved Permanently", "", "is the region right"),
        (
            "200 OK",
            "<!doctype html><html><head><meta charset=utf-8><title>Console</title></head></html>",
            "is not understood",
        ),
    ];
    for (status, body, expected) in refusals {
        let said = said("s3://bucket/one", &answering(status, body), KEY);
        assert!(said.starts_with("opening the repository s3://bucket/one: "), "{said}");
        assert!(said.contains(expected) && !said.contains("s3cr3t"), "{status}: {said}");
    }
}

#[test]
fn nobody_there_is_told_for_every_provider() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let account = "AZURE_STORAGE_ACCOUNT_NAME=a\nAZURE_STORAGE_ACCOUNT_KEY=c2VjcmV0\n";
    let bearer = "GOOGLE_BEARER_TOKEN=t\n";
    for (url, credentials) in [("s3://bucket", KEY), ("gs://bucket", bearer), ("az://container", account)] {
        let said = said(url, &nobody, credentials);
        assert!(said.contains("no connection to the service") && said.contains("refused"), "{said}");
    }
}

#[test]
fn settings_that_do_not_fit_are_told() {
    let somewhere = "http://127.0.0.1:1";
    let wrong = [
        ("s3://bucket", "ftp://x", KEY, "an endpoint is http://HOST:PORT"),
        ("s3://bucket", "http://a:b@x", KEY, "holds no credentials"),
        ("s3://bucket", somewhere, "aws_access_key_id = A\n", "secret"),
        ("az://container", somewhere, "", "account must be specified"),
        ("s3://bucket", somewhere, "colour = red\n", "no setting colour"),
        ("s3://bucket", somewhere, "{}", "no setting that is a JSON document"),
        ("/srv", somewhere, KEY, "a directory has no endpoint"),
    ];
    for (url, endpoint, credentials, expected) in wrong {
        let said = said(url, endpoint, credentials);
        assert!(said.to_lowercase().contains(&expected.to_lowercase()), "{said}");
    }
}
