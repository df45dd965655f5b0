//! A bucket of an object store that is a repository, by the crate `object_store`.
//!
//! ```text
//! PREFIX/<lineage>/...      objects, as in a directory
//! PREFIX/temp-<random>      the name and the number of an upload in parts, as long as it lasts
//! ```
//! What fits into one part is put at once, if nothing is there; what is larger goes up part by part, and is there when the last request
//! has put the parts together. The parts of an upload that was killed are invisible and cost money: the mark tells of them, and
//! [`Store::sweep`] ends them.
//!
//! A request is repeated when the service fails or the connection breaks, within bounds. A put that was repeated may find what it has put
//! itself: that is no other's.
//!
//! The store waits in a runtime of its own, which runs only while it is asked.

mod fault;
mod open;
mod upload;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::io::{self, Read};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use tokio::runtime::Runtime;

use super::{Store, TEMP, Upload, random_hex};

pub(super) use open::{Place, open};

use upload::{BucketUpload, Mark};

/// How often a put whose answer was lost is repeated.
const PUTS_MAX: u32 = 4;
/// No mark of an upload is larger, bytes.
const MARK_BYTES_MAX: u64 = 4096;
/// What the first repetition waits for, milliseconds; each further one twice as long.
const PUT_PAUSE_MS: u64 = 200;

/// Small objects that are read at the same time.
const READS_AT_ONCE_MAX: usize = 32;

type Result<T> = std::result::Result<T, object_store::Error>;

/// What is needed of a service.
trait Service: ObjectStore + MultipartStore {}

impl<T: ObjectStore + MultipartStore> Service for T {}

/// What begins with a prefix in a bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    runtime: Runtime,
    service: Box<dyn Service>,
    prefix: String,
    /// Nobody vouches that it puts nothing where something is: it is tried before anything is put.
    is_stranger: bool,
    /// It was tried.
    keeps: OnceLock<()>,
}

impl Bucket {
    fn new(service: Box<dyn Service>, prefix: &str, is_stranger: bool) -> io::Result<Bucket> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let inner =
            Inner { runtime, service, prefix: prefix.to_owned(), is_stranger, keeps: OnceLock::new() };
        Ok(Bucket { inner: Arc::new(inner) })
    }

    /// Whether the service answers, and the bucket is there.
    fn look(&self) -> io::Result<()> {
        let Inner { service, .. } = &*self.inner;
        self.inner
            .wait(async { service.list(self.inner.prefix().as_ref()).next().await.transpose() })
            .map(drop)
    }
}

impl Inner {
    /// Waits for an answer of the service.
    fn wait<T>(&self, work: impl Future<Output = Result<T>>) -> io::Result<T> {
        self.runtime.block_on(work).map_err(fault::told)
    }

    fn path(&self, name: &str) -> Path {
        Path::from(if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) })
    }

    /// What is called so below the prefix.
    fn name(&self, object: &ObjectMeta) -> Option<String> {
        let path = object.location.as_ref();
        let name =
            if self.prefix.is_empty() { path } else { path.strip_prefix(&self.prefix)?.strip_prefix('/')? };
        Some(name.to_owned())
    }

    fn prefix(&self) -> Option<Path> {
        (!self.prefix.is_empty()).then(|| Path::from(self.prefix.as_str()))
    }

    /// Puts an object where nothing is.
    async fn create(&self, path: &Path, bytes: &PutPayload) -> Result<()> {
        for repeated in 0.. {
            let put = self.service.put_opts(path, bytes.clone(), PutMode::Create.into()).await;
            let error = match put {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let is_last = repeated + 1 == PUTS_MAX;
            match &error {
                object_store::Error::AlreadyExists { .. } => match self.holds(path, bytes).await {
                    Ok(true) => return Ok(()),
                    // Two that put at the same time may both be turned away.
                    Err(object_store::Error::NotFound { .. }) if !is_last => {}
                    Ok(false) | Err(_) => return Err(error),
                },
                error if fault::is_cut(error) && !is_last => {}
                _ => return Err(error),
            }
            tokio::time::sleep(Duration::from_millis(PUT_PAUSE_MS << repeated)).await;
        }
        unreachable!("the last repetition returns")
    }

    /// Whether just these bytes are there: they were put by this put, when its answer was lost.
    async fn holds(&self, path: &Path, bytes: &PutPayload) -> Result<bool> {
        let found = self.service.get(path).await?;
        if found.meta.size != bytes.content_length() as u64 {
            return Ok(false);
        }
        let there = found.bytes().await?;
        Ok(bytes.iter().flatten().eq(there.iter()))
    }

    /// Makes sure, once, that nothing is put where something is.
    async fn try_to_put_twice(&self) -> Result<()> {
        if !self.is_stranger || self.keeps.get().is_some() {
            return Ok(());
        }
        let random = random_hex().map_err(fault::generic)?;
        let path = self.path(&format!("{TEMP}{random}"));
        let put = |text: &'static str| self.service.put_opts(&path, text.into(), PutMode::Create.into());
        put("first").await?;
        let second = put("second").await;
        // Who may write and not delete leaves it; it is swept as a mark is.
        self.service.delete(&path).await.unwrap_or_default();
        match second {
            Err(object_store::Error::AlreadyExists { .. }) => {
                self.keeps.get_or_init(|| ());
                Ok(())
            }
            Err(error) => Err(error),
            Ok(_) => Err(fault::generic(io::Error::new(
                io::ErrorKind::Unsupported,
                "the service writes over what is there, although it is asked not to (If-None-Match): two servers could ruin one \
                 another's backups",
            ))),
        }
    }

    /// Marks that are old enough, with the objects that they lie in.
    async fn old_marks(&self, age_s_min: u64) -> Result<Vec<Path>> {
        let found = self.service.list_with_delimiter(self.prefix().as_ref()).await?;
        let is_old = |object: &ObjectMeta| {
            let is_mark = self.name(object).is_some_and(|name| name.starts_with(TEMP));
            is_mark && object.size <= MARK_BYTES_MAX && age_s(object) >= age_s_min
        };
        Ok(found.objects.into_iter().filter(is_old).map(|object| object.location).collect())
    }

    /// Ends the upload that a mark tells of, and removes the mark.
    async fn end(&self, mark: &Path) -> Result<()> {
        let text = self.service.get(mark).await?.bytes().await?;
        // What is no mark is somebody else's.
        let Ok(told) = serde_json::from_slice::<Mark>(&text) else { return Ok(()) };
        match self.service.abort_multipart(&self.path(&told.name), &told.upload).await {
            // It was finished, or ended by somebody else.
            Ok(()) | Err(object_store::Error::NotFound { .. }) => self.service.delete(mark).await,
            Err(error) => Err(error),
        }
    }
}

/// By the clocks of both machines.
fn age_s(object: &ObjectMeta) -> u64 {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    now_s.saturating_sub(u64::try_from(object.last_modified.timestamp()).unwrap_or_default())
}

impl Store for Bucket {
    fn list(&self) -> io::Result<Vec<String>> {
        let inner = &*self.inner;
        let found = inner.service.list(inner.prefix().as_ref());
        let names = found.try_filter_map(async |object| Ok(inner.name(&object)));
        let mut names: Vec<String> = inner.wait(names.try_collect())?;
        names.retain(|name| name.matches('/').count() == 1);
        names.sort();
        Ok(names)
    }

    fn upload(&self, name: &str) -> io::Result<Box<dyn Upload + '_>> {
        Ok(Box::new(BucketUpload::new(&self.inner, name)))
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read>> {
        let inner = Arc::clone(&self.inner);
        let stream = inner.wait(inner.service.get(&inner.path(name)))?.into_stream();
        Ok(Box::new(BucketReader { inner, stream, part: Default::default() }))
    }

    fn read_all(&self, names: &[String], bytes_max: u64) -> Vec<io::Result<Vec<u8>>> {
        let read = async |name: &String| {
            let found = self.inner.service.get(&self.inner.path(name)).await?;
            let mut stream = found.into_stream().map_ok(|part| part.to_vec());
            let mut bytes = Vec::new();
            while (bytes.len() as u64) < bytes_max
                && let Some(part) = stream.try_next().await?
            {
                bytes.extend(part);
            }
            bytes.truncate(usize::try_from(bytes_max).unwrap_or(usize::MAX));
            Ok(bytes)
        };
        let all = futures_util::stream::iter(names).map(read).buffered(READS_AT_ONCE_MAX);
        let all = all.map(|read| read.map_err(fault::told)).collect();
        self.inner.runtime.block_on(all)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.wait(self.inner.service.delete(&self.inner.path(name)))
    }

    fn age_s(&self, name: &str) -> io::Result<u64> {
        self.inner.wait(self.inner.service.head(&self.inner.path(name))).map(|object| age_s(&object))
    }

    fn sweep(&self, age_s_min: u64) -> io::Result<usize> {
        let marks = self.inner.wait(self.inner.old_marks(age_s_min))?;
        for mark in &marks {
            self.inner.wait(self.inner.end(mark))?;
        }
        Ok(marks.len())
    }
}

/// An object as it comes. What breaks is gone on with behind what was read.
struct BucketReader {
    inner: Arc<Inner>,
    stream: BoxStream<'static, Result<bytes::Bytes>>,
    part: bytes::Bytes,
}

impl Read for BucketReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.part.is_empty() {
            match self.inner.runtime.block_on(self.stream.next()) {
                Some(part) => self.part = part.map_err(fault::told)?,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.part.len());
        buffer[..count].copy_from_slice(&self.part.split_to(count));
        Ok(count)
    }
}
